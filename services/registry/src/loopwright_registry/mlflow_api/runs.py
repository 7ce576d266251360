"""MLflow's operations on runs."""

from loopwright_common.web.request_limits import BodyLimit
from loopwright_registry.artifacts.domain import artifact_path
from loopwright_registry.experiments.domain import LIFECYCLE_STAGES, experiment_id_of
from loopwright_registry.mlflow.domain import ACTIVE, DELETED
from loopwright_registry.mlflow.endpoint import Endpoint, Endpoints, MlflowContext
from loopwright_registry.mlflow.filters import parse_filter, parse_order
from loopwright_registry.mlflow.json import MlflowResponse, mapping_of, metric_json
from loopwright_registry.mlflow.paging import page_request
from loopwright_registry.mlflow_api import run_schemas
from loopwright_registry.mlflow_api.artifacts import entries_under
from loopwright_registry.runs import service
from loopwright_registry.runs.domain import NAME_TAG, LogBatchData, ModelOutput
from loopwright_registry.runs.repository import Runs
from loopwright_registry.runs.run_data_repository import RunData
from loopwright_registry.runs.run_fencing import fenced_write, hold_new_run


async def create(request: run_schemas.CreateRun, context: MlflowContext) -> MlflowResponse:
    tags = mapping_of(request.tags)
    if request.run_name:
        tags[NAME_TAG] = request.run_name
    experiment_id = experiment_id_of(request.experiment_id)
    async with context.database.unit_of_work() as uow:
        run = await service.create_run(
            uow, experiment_id, request.user_id, request.start_time, tags
        )
        await hold_new_run(uow, context.bearer, run.info.run_id)
    return {"run": run_schemas.run_json(run)}


async def get(request: run_schemas.RunById, context: MlflowContext) -> MlflowResponse:
    async with context.database.read() as connection:
        return {"run": run_schemas.run_json(await Runs(connection).get(request.id))}


async def update(request: run_schemas.UpdateRun, context: MlflowContext) -> MlflowResponse:
    async with fenced_write(context, request.id) as uow:
        info = await service.update_run(
            uow, request.id, request.status, request.end_time, request.run_name
        )
    return {"run_info": run_schemas.run_info_json(info)}


async def delete(request: run_schemas.RunById, context: MlflowContext) -> MlflowResponse:
    async with fenced_write(context, request.id) as uow:
        await service.move_run(uow, request.id, DELETED)
    return {}


async def restore(request: run_schemas.RunById, context: MlflowContext) -> MlflowResponse:
    async with fenced_write(context, request.id) as uow:
        await service.move_run(uow, request.id, ACTIVE)
    return {}


async def log_metric(request: run_schemas.LogMetric, context: MlflowContext) -> MlflowResponse:
    return await _log(request.id, LogBatchData(metrics=[request.metric(request.id)]), context)


async def log_parameter(
    request: run_schemas.LogRunKeyValue, context: MlflowContext
) -> MlflowResponse:
    return await _log(request.id, LogBatchData(params=[(request.key, request.value)]), context)


async def set_tag(request: run_schemas.LogRunKeyValue, context: MlflowContext) -> MlflowResponse:
    return await _log(request.id, LogBatchData(tags=[(request.key, request.value)]), context)


async def log_batch(request: run_schemas.LogBatch, context: MlflowContext) -> MlflowResponse:
    batch = LogBatchData(
        metrics=[metric.metric(request.id) for metric in request.metrics],
        params=[(pair.key, pair.value) for pair in request.params],
        tags=[(pair.key, pair.value) for pair in request.tags],
    )
    return await _log(request.id, batch, context)


async def delete_tag(request: run_schemas.DeleteRunTag, context: MlflowContext) -> MlflowResponse:
    async with fenced_write(context, request.id) as uow:
        await service.delete_tag(uow, request.id, request.key)
    return {}


async def log_inputs(request: run_schemas.LogInputs, context: MlflowContext) -> MlflowResponse:
    datasets = [item.input() for item in request.datasets]
    models = [item.model_id for item in request.models]
    async with fenced_write(context, request.id) as uow:
        await service.log_inputs(uow, request.id, datasets, models)
    return {}


async def log_outputs(request: run_schemas.LogOutputs, context: MlflowContext) -> MlflowResponse:
    outputs = [ModelOutput(item.model_id, item.step) for item in request.models]
    async with fenced_write(context, request.id) as uow:
        await service.log_outputs(uow, request.id, outputs)
    return {}


async def history(request: run_schemas.GetMetricHistory, context: MlflowContext) -> MlflowResponse:
    page = page_request(request.max_results, request.page_token, 25_000)
    async with context.database.read() as connection:
        await Runs(connection).info(request.id)
        found = await RunData(connection).metric_history(request.id, request.metric_key, page)
    return {
        "metrics": [metric_json(metric) for metric in found.items],
        "next_page_token": found.next_token,
    }


async def search(request: run_schemas.SearchRuns, context: MlflowContext) -> MlflowResponse:
    page = page_request(request.max_results, request.page_token, 50_000)
    conditions, orders = parse_filter(request.filter), parse_order(request.order_by)
    experiments = [experiment_id_of(text) for text in request.experiment_ids]
    async with context.database.read() as connection:
        found = await Runs(connection).search(
            experiments, conditions, orders, LIFECYCLE_STAGES[request.run_view_type], page
        )
    return {
        "runs": [run_schemas.run_json(run) for run in found.items],
        "next_page_token": found.next_token,
    }


async def list_artifacts(
    request: run_schemas.ListRunArtifacts, context: MlflowContext
) -> MlflowResponse:
    async with context.database.read() as connection:
        info = await Runs(connection).info(request.id)
    below = request.path.strip("/")
    root = artifact_path(info.artifact_uri)
    at = f"{root}/{below}" if below else root
    files = await entries_under(at, context, prefix=f"{below}/" if below else "")
    return {"root_uri": info.artifact_uri, "files": files}


async def _log(run_id: str, batch: LogBatchData, context: MlflowContext) -> MlflowResponse:
    async with fenced_write(context, run_id) as uow:
        await service.log_batch(uow, run_id, batch)
    return {}


_AT = "/mlflow/runs"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", run_schemas.CreateRun, create),
    Endpoint("GET", f"{_AT}/get", run_schemas.RunById, get),
    Endpoint("POST", f"{_AT}/update", run_schemas.UpdateRun, update),
    Endpoint("POST", f"{_AT}/delete", run_schemas.RunById, delete),
    Endpoint("POST", f"{_AT}/restore", run_schemas.RunById, restore),
    Endpoint("POST", f"{_AT}/log-metric", run_schemas.LogMetric, log_metric),
    Endpoint("POST", f"{_AT}/log-parameter", run_schemas.LogRunKeyValue, log_parameter),
    Endpoint("POST", f"{_AT}/set-tag", run_schemas.LogRunKeyValue, set_tag),
    Endpoint("POST", f"{_AT}/delete-tag", run_schemas.DeleteRunTag, delete_tag),
    Endpoint("POST", f"{_AT}/log-batch", run_schemas.LogBatch, log_batch, BodyLimit(4 << 20)),
    Endpoint("POST", f"{_AT}/log-inputs", run_schemas.LogInputs, log_inputs, BodyLimit(20 << 20)),
    Endpoint("POST", f"{_AT}/outputs", run_schemas.LogOutputs, log_outputs),
    Endpoint("POST", f"{_AT}/search", run_schemas.SearchRuns, search),
    Endpoint("GET", "/mlflow/metrics/get-history", run_schemas.GetMetricHistory, history),
    Endpoint("GET", "/mlflow/artifacts/list", run_schemas.ListRunArtifacts, list_artifacts),
)
