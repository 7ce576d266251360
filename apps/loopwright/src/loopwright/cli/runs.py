"""`loopwright runs`: what the trainer did with commits and requests."""

from typing import Annotated, Any

import typer

from loopwright.client import CallError, Services
from loopwright.output import (
    Column,
    Json,
    Limit,
    clock_time,
    console,
    show_items,
    show_json,
    show_one,
)

app = typer.Typer(no_args_is_help=True, help="Runs of pipelines.")
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="An id, the beginning of a commit, or `latest`.")
]
COLUMNS: list[Column] = [
    ("commit", lambda run: run["commit"][:8]),
    *("pipeline", "status", "reason", "version"),
    ("started", lambda run: clock_time(run["started_at"])),
    "why",
]
FIELDS: list[Column] = [
    *("id", "pipeline", "repository", "commit", "status", "why", "reason", "model", "version"),
    *("started_at", "finished_at"),
]
STAGES: list[Column] = ["name", "outcome", "seconds", "why"]


@app.command("list")
def list_(limit: Limit = 20, as_json: Json = False) -> None:
    """The newest runs."""
    with Services() as services:
        runs = services.items("trainer", "/v1/runs", limit)
    show_items(runs, COLUMNS, as_json=as_json, none="no runs yet; see `loopwright repositories`")


@app.command()
def show(run: RunId, as_json: Json = False) -> None:
    """A run and its stages: reused or ran, and why."""
    with Services() as services:
        record = services.get("trainer", f"/v1/runs/{id_of(services, run)}")
    show_one(record, FIELDS, as_json=as_json)
    if not as_json and record["stages"]:
        console.print()
        show_items(record["stages"], STAGES, as_json=False)
        _show_failure(record["stages"])


@app.command()
def log(
    run: RunId, stage: Annotated[str | None, typer.Option(help="Only this stage.")] = None
) -> None:
    """What a run's commands printed."""
    with Services() as services:
        print(services.text("trainer", f"/v1/runs/{id_of(services, run)}/log", stage=stage), end="")


@app.command()
def start(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name.")], as_json: Json = False
) -> None:
    """Run a pipeline on the newest known commit."""
    with Services() as services:
        started = services.post("trainer", "/v1/runs", {"pipeline": pipeline})
    _tell(started, "started", as_json=as_json)


@app.command()
def cancel(run: RunId, as_json: Json = False) -> None:
    """Stop a run; nothing is registered."""
    with Services() as services:
        answer = services.post("trainer", f"/v1/runs/{id_of(services, run)}/cancel")
    _tell(answer, "cancelled", as_json=as_json)


@app.command()
def retry(
    run: RunId,
    by: Annotated[str, typer.Option(help="Your name; by default the user's.")] = "",
    as_json: Json = False,
) -> None:
    """Run the commit of an ended run again, with the same captured rows."""
    import getpass

    with Services() as services:
        who = {"by": by or getpass.getuser()}
        started = services.post("trainer", f"/v1/runs/{id_of(services, run)}/retry", who)
    _tell(started, "started", as_json=as_json)


def _show_failure(stages: list[dict[str, Any]]) -> None:
    for stage in stages:
        if stage["outcome"] == "failed" and stage["log_tail"]:
            console.print(f"\n{stage['name']} printed at last:", style="bold", markup=False)
            console.print(stage["log_tail"], markup=False, highlight=False)


def _tell(run: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        show_json(run)
    else:
        console.print(f"{done} {run.get('id', '')}", markup=False)


def failed_run(services: Services, pipeline: str | None) -> str | None:
    """The sentence of a pipeline's (None: any) newest run where it failed; None where not known."""
    try:
        newest = services.items("trainer", "/v1/runs", 1, pipeline=pipeline)
    except CallError:
        return None
    if not newest or newest[0]["status"] != "failed":
        return None
    run = newest[0]
    return f"the run of {run['pipeline']} at {run['commit'][:8]} failed: {run['why']}"


def id_of(services: Services, run: str) -> str:
    """The id of the newest run that `run` names; CallError when there is none."""
    if run.count("-") == 4:
        return run
    for each in services.items("trainer", "/v1/runs", 1 if run == "latest" else 500):
        if run == "latest" or each["commit"].startswith(run):
            return str(each["id"])
    raise CallError("there is no run yet" if run == "latest" else f"no run is of a commit {run!r}")
