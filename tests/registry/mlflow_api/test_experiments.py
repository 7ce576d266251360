"""Experiments and the runs in them."""

import httpx

from tests.registry.builders import call


async def test_the_runs_of_a_deleted_experiment_go_and_come_back_with_it(
    client: httpx.AsyncClient,
) -> None:
    found = await call(client, "POST", "experiments/create", name="e")
    at = {"experiment_id": found["experiment_id"]}
    await call(client, "POST", "runs/create", **at)
    ids, stages = [found["experiment_id"]], []
    for move in ("delete", "restore"):
        await call(client, "POST", f"experiments/{move}", **at)
        active = await call(client, "POST", "runs/search", experiment_ids=ids)
        stages.append(len(active.get("runs", [])))

    assert stages == [0, 1]
