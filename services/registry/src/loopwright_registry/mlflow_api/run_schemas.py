"""Requests on runs, and runs as JSON."""

from pydantic import Field

from loopwright_common.errors import InvalidError
from loopwright_common.name_field import Name
from loopwright_registry.experiments.domain import ViewType
from loopwright_registry.mlflow.json import (
    Int64,
    KeyValue,
    MetricIn,
    MlflowRequest,
    MlflowResponse,
    mapping_of,
    metric_json,
    pairs_json,
)
from loopwright_registry.runs.domain import DatasetInput, Run, RunInfo, RunStatus


class RunById(MlflowRequest):
    """A request on one run, which old clients name `run_uuid`."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def id(self) -> str:
        """The run that is meant; InvalidError where neither name gives one."""
        if not (run_id := self.run_id or self.run_uuid):
            raise InvalidError("Missing value for required parameter 'run_id'.")
        return run_id


class CreateRun(MlflowRequest):
    experiment_id: str = "0"
    user_id: str = Field(default="", max_length=256)
    run_name: Name | None = None
    start_time: Int64 | None = None
    tags: list[KeyValue] = Field(default=[])


class UpdateRun(RunById):
    status: RunStatus | None = None
    end_time: Int64 | None = None
    run_name: Name | None = None


class LogMetric(RunById, MetricIn):
    pass


class LogRunKeyValue(RunById):
    key: str
    value: str


class DeleteRunTag(RunById):
    key: str


class LogBatch(RunById):
    metrics: list[MetricIn] = Field(default=[])
    params: list[KeyValue] = Field(default=[])
    tags: list[KeyValue] = Field(default=[])


class DatasetIn(MlflowRequest):
    name: Name = Field(max_length=500)
    digest: str = Field(max_length=36)
    source_type: str = Field(max_length=36)
    source: str = Field(max_length=65_535)
    schema_: str | None = Field(default=None, alias="schema", max_length=1_048_575)
    profile: str | None = Field(default=None, max_length=16_777_215)


class DatasetInputIn(MlflowRequest):
    dataset: DatasetIn
    tags: list[KeyValue] = Field(default=[])

    def input(self) -> DatasetInput:
        return DatasetInput(
            name=self.dataset.name,
            digest=self.dataset.digest,
            source_type=self.dataset.source_type,
            source=self.dataset.source,
            schema=self.dataset.schema_,
            profile=self.dataset.profile,
            tags=mapping_of(self.tags),
        )


class ModelReference(MlflowRequest):
    model_id: str = Field(max_length=64)
    step: Int64 = 0


class LogInputs(RunById):
    datasets: list[DatasetInputIn] = Field(default=[], max_length=1000)
    models: list[ModelReference] = Field(default=[])


class LogOutputs(RunById):
    models: list[ModelReference] = Field(default=[])


class GetMetricHistory(RunById):
    metric_key: str
    max_results: int = 25_000
    page_token: str | None = None


class SearchRuns(MlflowRequest):
    experiment_ids: list[str] = Field(default=[], max_length=10_000)
    filter: str | None = None
    run_view_type: ViewType = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = Field(default=[])
    page_token: str | None = None


class ListRunArtifacts(RunById):
    path: str = ""


def run_info_json(info: RunInfo) -> MlflowResponse:
    return {
        "run_id": info.run_id,
        "run_uuid": info.run_id,
        "run_name": info.name,
        "experiment_id": str(info.experiment_id),
        "user_id": info.user_id,
        "status": info.status,
        "start_time": info.start_ms,
        "end_time": info.end_ms,
        "artifact_uri": info.artifact_uri,
        "lifecycle_stage": info.lifecycle_stage,
    }


def run_json(run: Run) -> MlflowResponse:
    data = {
        "metrics": [metric_json(metric) for metric in run.metrics],
        "params": pairs_json(run.params),
        "tags": pairs_json(run.tags),
    }
    inputs = {
        "dataset_inputs": [_dataset_input_json(item) for item in run.datasets],
        "model_inputs": [{"model_id": model_id} for model_id in run.model_inputs],
    }
    outputs = [{"model_id": item.model_id, "step": item.step} for item in run.model_outputs]
    answer: MlflowResponse = {"info": run_info_json(run.info), "data": data, "inputs": inputs}
    return {**answer, "outputs": {"model_outputs": outputs}} if outputs else answer


def _dataset_input_json(item: DatasetInput) -> MlflowResponse:
    dataset = {
        "name": item.name,
        "digest": item.digest,
        "source_type": item.source_type,
        "source": item.source,
        "schema": item.schema,
        "profile": item.profile,
    }
    return {"tags": pairs_json(item.tags), "dataset": dataset}
