"""Requests on runs, and runs as JSON."""

from pydantic import Field

from loopwright_common.errors import InvalidError
from loopwright_registry.experiments.domain import ViewType
from loopwright_registry.mlflow.json import (
    Answer,
    Asked,
    AskedMetric,
    Int64,
    Pair,
    mapping,
    pairs,
    written_metric,
)
from loopwright_registry.runs.domain import DatasetInput, Run, RunInfo, RunStatus


class ByRun(Asked):
    """Old clients say run_uuid."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def id(self) -> str:
        if not (found := self.run_id or self.run_uuid):
            raise InvalidError("Missing value for required parameter 'run_id'.")
        return found


class CreateRun(Asked):
    experiment_id: str = "0"
    user_id: str = Field(default="", max_length=256)
    run_name: str | None = None
    start_time: Int64 | None = None
    tags: list[Pair] = Field(default=[])


class UpdateRun(ByRun):
    status: RunStatus | None = None
    end_time: Int64 | None = None
    run_name: str | None = None


class LogMetric(ByRun, AskedMetric):
    pass


class LogPair(ByRun):
    key: str
    value: str


class DeleteTag(ByRun):
    key: str


class LogBatch(ByRun):
    metrics: list[AskedMetric] = Field(default=[])
    params: list[Pair] = Field(default=[])
    tags: list[Pair] = Field(default=[])


class AskedDataset(Asked):
    name: str = Field(max_length=500)
    digest: str = Field(max_length=36)
    source_type: str = Field(max_length=36)
    source: str = Field(max_length=65_535)
    schema_: str | None = Field(default=None, alias="schema", max_length=1_048_575)
    profile: str | None = Field(default=None, max_length=16_777_215)


class AskedDatasetInput(Asked):
    dataset: AskedDataset
    tags: list[Pair] = Field(default=[])

    def input(self) -> DatasetInput:
        return DatasetInput(
            name=self.dataset.name,
            digest=self.dataset.digest,
            source_type=self.dataset.source_type,
            source=self.dataset.source,
            schema=self.dataset.schema_,
            profile=self.dataset.profile,
            tags=mapping(self.tags),
        )


class ModelRef(Asked):
    model_id: str = Field(max_length=64)
    step: Int64 = 0


class LogInputs(ByRun):
    datasets: list[AskedDatasetInput] = Field(default=[], max_length=1000)
    models: list[ModelRef] = Field(default=[])


class LogOutputs(ByRun):
    models: list[ModelRef] = Field(default=[])


class GetHistory(ByRun):
    metric_key: str
    max_results: int = 25_000
    page_token: str | None = None


class SearchRuns(Asked):
    experiment_ids: list[str] = Field(default=[], max_length=10_000)
    filter: str | None = None
    run_view_type: ViewType = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = Field(default=[])
    page_token: str | None = None


class ListRunArtifacts(ByRun):
    path: str = ""


def written_info(info: RunInfo) -> Answer:
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


def written_run(run: Run) -> Answer:
    data = {
        "metrics": [written_metric(metric) for metric in run.metrics],
        "params": pairs(run.params),
        "tags": pairs(run.tags),
    }
    inputs = {
        "dataset_inputs": [_written_input(item) for item in run.datasets],
        "model_inputs": [{"model_id": model_id} for model_id in run.model_inputs],
    }
    outputs = [{"model_id": item.model_id, "step": item.step} for item in run.model_outputs]
    answer: Answer = {"info": written_info(run.info), "data": data, "inputs": inputs}
    return {**answer, "outputs": {"model_outputs": outputs}} if outputs else answer


def _written_input(item: DatasetInput) -> Answer:
    dataset = {
        "name": item.name,
        "digest": item.digest,
        "source_type": item.source_type,
        "source": item.source,
        "schema": item.schema,
        "profile": item.profile,
    }
    return {"tags": pairs(item.tags), "dataset": dataset}
