"""A logged model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from loopwright_registry.mlflow.domain import Metric, Params, Tags

LoggedModelStatus = Literal[
    "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"
]
VERSIONS_TAG = "mlflow.modelVersions"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """Times are milliseconds since 1970."""

    model_id: str
    experiment_id: int
    name: str
    artifact_uri: str
    status: str
    model_type: str
    source_run_id: str | None
    created_ms: int
    updated_ms: int
    tags: Tags = field(default_factory=dict)
    params: Params = field(default_factory=dict)
    metrics: Sequence[Metric] = ()

    def registered_versions(self) -> list[Any]:
        """The versions that its tag names; nothing where a client wrote something else there."""
        try:
            known = json.loads(self.tags.get(VERSIONS_TAG, "[]"))
        except ValueError:
            known = None
        return known if isinstance(known, list) else []


def new_logged_model_id() -> str:
    """As MLflow's own: clients tell a logged model's id by its `m-`."""
    return f"m-{uuid4().hex}"
