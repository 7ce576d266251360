"""Why a version is where it is."""

import httpx

from loopwright_common.events import (
    DeploymentPromoted,
    RetrainRequested,
    RoutesChanged,
    TrainingFinished,
)
from tests.registry.archive.facts import commit, drift
from tests.registry.builders import (
    CAUSE_HEADER,
    happened,
    packaged_run,
    register,
)
from tests.registry.harness import RegistryHarness


async def registered_from_commit(client: httpx.AsyncClient, registry: RegistryHarness) -> str:
    """The model id of version 1, which a commit led to and which was promoted."""
    await registry.deliver(commit())
    run_id = await packaged_run(client, loopwright__pipeline_run="p-1")
    await register(client, run_id, CAUSE_HEADER, {"loopwright.commit": "9f2c1a0aa"})
    model = (await client.get("/v1/models/m/versions/1")).json()
    promoted = DeploymentPromoted(
        deployment_id="d", environment="production", model_id=model["model_id"], model="m",
        version=1, why="first version",
    )  # fmt: skip
    route = RoutesChanged(
        environment="production", model_id=model["model_id"], model="m", revision=1, arms=[]
    )
    subject = "models/m/versions/1"
    await registry.deliver(
        happened(promoted, "promoted-event", 60 * 24 * 365 * 50, subject),
        happened(route, "route-event", 60 * 24 * 365 * 50, subject),
    )
    return str(model["model_id"])


async def test_why_goes_back_to_the_commit_and_on_to_the_promotion(
    client: httpx.AsyncClient, registry: RegistryHarness
) -> None:
    await registered_from_commit(client, registry)

    told = (await client.get("/v1/why/m/1")).json()["items"]

    assert [line["type"] for line in told] == [
        "code-changed", "model-registered", "deployment-promoted",
    ]  # fmt: skip
    assert told[0]["sentence"] == "commit 9f2c1a0a by a@x: Try"
    assert told[1]["causes"] == ["commit-event"]
    assert told[2]["sentence"] == "m version 1 promoted: first version"


async def test_why_goes_back_to_the_drift_over_the_request(
    client: httpx.AsyncClient, registry: RegistryHarness
) -> None:
    request = RetrainRequested(pipeline="bank", reason="drift", requested_by="monitor")
    finished = TrainingFinished(
        pipeline="bank", run_id="p", commit="c", reason="drift", status="succeeded", why="",
        model="m", version=1, seconds=2,
    )  # fmt: skip
    await registry.deliver(
        drift("id", 9),
        happened(request, "commit-event", 5, "pipelines/bank", ("drift-event",)),
        happened(finished, "finished-event", 6, "pipelines/bank", ("commit-event",)),
    )
    run_id = await packaged_run(client)
    await register(client, run_id, CAUSE_HEADER)
    await registry.deliver()

    told = (await client.get("/v1/why/m/1")).json()["items"]

    assert [line["type"] for line in told] == [
        "drift-detected", "retrain-requested", "training-finished", "model-registered",
    ]  # fmt: skip
    assert told[0]["sentence"].startswith("data drift of m version 9 since row 896")


async def test_why_of_an_unknown_version_or_alias_is_a_404(
    client: httpx.AsyncClient, registry: RegistryHarness
) -> None:
    await registered_from_commit(client, registry)

    for reference in ("7", "@champion"):
        assert (await client.get(f"/v1/why/m/{reference}")).status_code == 404
    assert (await client.get("/v1/why/x/1")).status_code == 404
