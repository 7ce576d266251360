"""`loopwright runs`: what the trainer did with commits and requests."""

from typing import Annotated, Any

import typer

from loopwright.client import Services
from loopwright.output import Json, Limit, console, show_items, show_json, show_one

app = typer.Typer(no_args_is_help=True, help="Runs of pipelines.")
RunId = Annotated[str, typer.Argument(help="The run's id, or `latest`.")]
COLUMNS = ["id", "pipeline", "status", "reason", "commit", "version", "started_at", "why"]
STAGES = ["name", "outcome", "seconds", "why"]


@app.command("list")
def list_(limit: Limit = 20, as_json: Json = False) -> None:
    """The newest runs."""
    with Services() as services:
        found = services.items("trainer", "/v1/runs", limit)
    show_items(found, COLUMNS, as_json=as_json)


@app.command()
def show(run: RunId, as_json: Json = False) -> None:
    """A run and its stages: reused or ran, and why."""
    with Services() as services:
        found = services.get("trainer", f"/v1/runs/{_id(services, run)}")
    show_one(found, [*COLUMNS, "chain_id"], as_json=as_json)
    if not as_json:
        console.print()
        show_items(found.get("stages", []), STAGES, as_json=False)


@app.command()
def log(
    run: RunId, stage: Annotated[str | None, typer.Option(help="Only this stage.")] = None
) -> None:
    """What a run's commands printed."""
    with Services() as services:
        print(services.text("trainer", f"/v1/runs/{_id(services, run)}/log", stage=stage), end="")


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
        answer = services.post("trainer", f"/v1/runs/{_id(services, run)}/cancel")
    _tell(answer, "cancelled", as_json=as_json)


def _tell(run: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        show_json(run)
    else:
        console.print(f"{done} {run.get('id', '')}", markup=False)


def _id(services: Services, run: str) -> str:
    if run != "latest":
        return run
    newest = next(iter(services.items("trainer", "/v1/runs", 1)), None)
    if newest is None:
        raise typer.BadParameter("there is no run yet")
    return str(newest["id"])
