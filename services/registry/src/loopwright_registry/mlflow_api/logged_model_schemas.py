"""Requests on logged models, and logged models as JSON."""

from pydantic import Field

from loopwright_common.name_field import Name
from loopwright_registry.logged_models.domain import (
    LoggedModel,
    LoggedModelStatus,
)
from loopwright_registry.mlflow.filters import OrderBy, parse_order
from loopwright_registry.mlflow.json import (
    KeyValue,
    MlflowRequest,
    MlflowResponse,
    metric_json,
    pairs_json,
)


class CreateLoggedModel(MlflowRequest):
    experiment_id: str
    name: Name | None = Field(default=None, max_length=500)
    model_type: str = Field(default="", max_length=500)
    source_run_id: str | None = Field(default=None, max_length=256)
    params: list[KeyValue] = Field(default=[])
    tags: list[KeyValue] = Field(default=[])


class LoggedModelById(MlflowRequest):
    model_id: str


class FinalizeLoggedModel(LoggedModelById):
    status: LoggedModelStatus


class SetLoggedModelTags(LoggedModelById):
    tags: list[KeyValue] = Field(default=[])


class DeleteLoggedModelTag(LoggedModelById):
    tag_key: str


class LogLoggedModelParams(LoggedModelById):
    params: list[KeyValue] = Field(default=[])


class ListLoggedModelArtifacts(LoggedModelById):
    artifact_directory_path: str = ""


class SearchOrder(MlflowRequest):
    field_name: str
    ascending: bool = True

    def order(self) -> OrderBy:
        [order] = parse_order([self.field_name])
        return OrderBy(order.kind, order.key, self.ascending)


class SearchLoggedModels(MlflowRequest):
    experiment_ids: list[str] = Field(default=[], max_length=10_000)
    filter: str | None = None
    max_results: int = 50
    order_by: list[SearchOrder] = Field(default=[])
    page_token: str | None = None


def logged_model_json(logged: LoggedModel) -> MlflowResponse:
    info = {
        "model_id": logged.model_id,
        "experiment_id": str(logged.experiment_id),
        "name": logged.name,
        "creation_timestamp_ms": logged.created_ms,
        "last_updated_timestamp_ms": logged.updated_ms,
        "artifact_uri": logged.artifact_uri,
        "status": logged.status,
        "model_type": logged.model_type,
        "source_run_id": logged.source_run_id,
        "tags": pairs_json(logged.tags),
    }
    data = {
        "params": pairs_json(logged.params),
        "metrics": [metric_json(metric) for metric in logged.metrics],
    }
    return {"info": info, "data": data}
