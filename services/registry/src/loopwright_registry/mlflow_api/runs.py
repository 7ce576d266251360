"""MLflow's operations on runs."""

from loopwright_registry.artifacts.domain import artifact_path
from loopwright_registry.experiments.domain import LIFECYCLE_STAGES, experiment_id_of
from loopwright_registry.mlflow.domain import ACTIVE, DELETED
from loopwright_registry.mlflow.filters import parse_filter, parse_order
from loopwright_registry.mlflow.json import (
    Answer,
    Call,
    Endpoint,
    Endpoints,
    mapping,
    written_metric,
)
from loopwright_registry.mlflow.paging import page_of
from loopwright_registry.mlflow_api.artifacts import entries_under
from loopwright_registry.runs import schemas, service
from loopwright_registry.runs.domain import NAME_TAG, Batch, ModelOutput
from loopwright_registry.runs.repository import Runs
from loopwright_registry.runs.run_fencing import writing


async def create(asked: schemas.CreateRun, call: Call) -> Answer:
    tags = mapping(asked.tags)
    if asked.run_name:
        tags[NAME_TAG] = asked.run_name
    experiment_id = experiment_id_of(asked.experiment_id)
    async with call.database.unit_of_work() as uow:
        run = await service.create_run(uow, experiment_id, asked.user_id, asked.start_time, tags)
    return {"run": schemas.written_run(run)}


async def get(asked: schemas.ByRun, call: Call) -> Answer:
    async with call.database.read() as connection:
        return {"run": schemas.written_run(await Runs(connection).get(asked.id))}


async def update(asked: schemas.UpdateRun, call: Call) -> Answer:
    async with writing(call, asked.id) as uow:
        info = await service.update_run(uow, asked.id, asked.status, asked.end_time, asked.run_name)
    return {"run_info": schemas.written_info(info)}


async def delete(asked: schemas.ByRun, call: Call) -> Answer:
    async with writing(call, asked.id) as uow:
        await service.move_run(uow, asked.id, DELETED)
    return {}


async def restore(asked: schemas.ByRun, call: Call) -> Answer:
    async with writing(call, asked.id) as uow:
        await service.move_run(uow, asked.id, ACTIVE)
    return {}


async def log_metric(asked: schemas.LogMetric, call: Call) -> Answer:
    return await _log(asked.id, Batch(metrics=[asked.metric(asked.id)]), call)


async def log_parameter(asked: schemas.LogPair, call: Call) -> Answer:
    return await _log(asked.id, Batch(params=[(asked.key, asked.value)]), call)


async def set_tag(asked: schemas.LogPair, call: Call) -> Answer:
    return await _log(asked.id, Batch(tags=[(asked.key, asked.value)]), call)


async def log_batch(asked: schemas.LogBatch, call: Call) -> Answer:
    batch = Batch(
        metrics=[metric.metric(asked.id) for metric in asked.metrics],
        params=[(pair.key, pair.value) for pair in asked.params],
        tags=[(pair.key, pair.value) for pair in asked.tags],
    )
    return await _log(asked.id, batch, call)


async def delete_tag(asked: schemas.DeleteTag, call: Call) -> Answer:
    async with writing(call, asked.id) as uow:
        await service.delete_tag(uow, asked.id, asked.key)
    return {}


async def log_inputs(asked: schemas.LogInputs, call: Call) -> Answer:
    datasets = [item.input() for item in asked.datasets]
    models = [item.model_id for item in asked.models]
    async with writing(call, asked.id) as uow:
        await service.log_inputs(uow, asked.id, datasets, models)
    return {}


async def log_outputs(asked: schemas.LogOutputs, call: Call) -> Answer:
    outputs = [ModelOutput(item.model_id, item.step) for item in asked.models]
    async with writing(call, asked.id) as uow:
        await service.log_outputs(uow, asked.id, outputs)
    return {}


async def history(asked: schemas.GetHistory, call: Call) -> Answer:
    page = page_of(asked.max_results, asked.page_token, 25_000)
    async with call.database.read() as connection:
        runs = Runs(connection)
        await runs.info(asked.id)
        found = await runs.history(asked.id, asked.metric_key, page)
    return {
        "metrics": [written_metric(metric) for metric in found.items],
        "next_page_token": found.next_token,
    }


async def search(asked: schemas.SearchRuns, call: Call) -> Answer:
    page = page_of(asked.max_results, asked.page_token, 50_000)
    conditions, orders = parse_filter(asked.filter), parse_order(asked.order_by)
    experiments = [experiment_id_of(text) for text in asked.experiment_ids]
    async with call.database.read() as connection:
        found = await Runs(connection).search(
            experiments, conditions, orders, LIFECYCLE_STAGES[asked.run_view_type], page
        )
    return {
        "runs": [schemas.written_run(run) for run in found.items],
        "next_page_token": found.next_token,
    }


async def list_artifacts(asked: schemas.ListRunArtifacts, call: Call) -> Answer:
    async with call.database.read() as connection:
        info = await Runs(connection).info(asked.id)
    below = asked.path.strip("/")
    root = artifact_path(info.artifact_uri)
    at = f"{root}/{below}" if below else root
    files = await entries_under(at, call, prefix=f"{below}/" if below else "")
    return {"root_uri": info.artifact_uri, "files": files}


async def _log(run_id: str, batch: Batch, call: Call) -> Answer:
    async with writing(call, run_id) as uow:
        await service.log_batch(uow, run_id, batch)
    return {}


_AT = "/mlflow/runs"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", schemas.CreateRun, create),
    Endpoint("GET", f"{_AT}/get", schemas.ByRun, get),
    Endpoint("POST", f"{_AT}/update", schemas.UpdateRun, update),
    Endpoint("POST", f"{_AT}/delete", schemas.ByRun, delete),
    Endpoint("POST", f"{_AT}/restore", schemas.ByRun, restore),
    Endpoint("POST", f"{_AT}/log-metric", schemas.LogMetric, log_metric),
    Endpoint("POST", f"{_AT}/log-parameter", schemas.LogPair, log_parameter),
    Endpoint("POST", f"{_AT}/set-tag", schemas.LogPair, set_tag),
    Endpoint("POST", f"{_AT}/delete-tag", schemas.DeleteTag, delete_tag),
    Endpoint("POST", f"{_AT}/log-batch", schemas.LogBatch, log_batch),
    Endpoint("POST", f"{_AT}/log-inputs", schemas.LogInputs, log_inputs),
    Endpoint("POST", f"{_AT}/outputs", schemas.LogOutputs, log_outputs),
    Endpoint("POST", f"{_AT}/search", schemas.SearchRuns, search),
    Endpoint("GET", "/mlflow/metrics/get-history", schemas.GetHistory, history),
    Endpoint("GET", "/mlflow/artifacts/list", schemas.ListRunArtifacts, list_artifacts),
)
