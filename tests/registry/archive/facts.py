"""Facts that the archive keeps, and how they are read back over HTTP."""

from typing import Any

import httpx

from loopwright_common.events import (
    CodeChanged,
    DriftDetected,
    DriftingFeature,
    Event,
    EventData,
    Since,
)
from tests.registry.builders import happened

COMMIT = CodeChanged(
    repository="bank", ref="refs/heads/main", commit="9f2c1a0aa", author="a@x", message="Try\nmore"
)


def commit() -> Event[EventData]:
    return happened(COMMIT, "commit-event", 0, "repositories/bank")


def drift(model_id: str, version: int) -> Event[EventData]:
    features = [DriftingFeature(name=n, evidence=9.0, change=0.3) for n in ("contact", "poutcome")]
    data = DriftDetected(
        model_id=model_id, model="m", version=version, episode="e", kind="data", features=features,
        since=Since(row=896), rows_seen=1024, false_alarm_every_rows=10**6, guarantee="g",
    )  # fmt: skip
    return happened(data, "drift-event", 4, f"models/m/versions/{version}")


async def events(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get("/v1/events", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
