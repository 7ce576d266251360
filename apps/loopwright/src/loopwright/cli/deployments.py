"""`loopwright deployments`: versions on their way to traffic."""

import time
from typing import Annotated, Any

import typer

from loopwright.client import CallError, Services
from loopwright.output import (
    Column,
    Json,
    Limit,
    Row,
    console,
    local_time,
    show_items,
    show_json,
    show_one,
)

app = typer.Typer(no_args_is_help=True, help="Deployments: from a version to its traffic.")


def _since(deployment: Row) -> str:
    return local_time(deployment["state_since"])


COLUMNS: list[Column] = ["id", "model", "version", "state", "champion", ("since", _since), "why"]
CHECKS: list[Column] = ["name", "verdict", "measured", "limit", "unit", "sentence"]
STEPS: list[Column] = [("time", lambda step: local_time(step["at"])), "state", "by", "why"]
FINAL = frozenset({"promoted", "rejected", "rolled-back", "superseded", "aborted"})
Deployment = Annotated[str, typer.Argument(help="The deployment's id, or `latest`.")]
By = Annotated[str, typer.Option(help="Who decides.")]
Reason = Annotated[str, typer.Option(help="Why.")]


@app.command("list")
def list_(limit: Limit = 20, as_json: Json = False) -> None:
    """The newest deployments."""
    with Services() as services:
        found = services.items("deployer", "/v1/deployments", limit)
    show_items(found, COLUMNS, as_json=as_json)


@app.command()
def show(deployment: Deployment, as_json: Json = False) -> None:
    """A deployment and its checks."""
    with Services() as services:
        found = _get(services, deployment)
    show_one(found, [*COLUMNS, "previous", "canary_step", "deadline", "report"], as_json=as_json)
    if as_json:
        return
    for items, columns in ((found["steps"], STEPS), (found["checks"], CHECKS)):
        console.print()
        show_items(items, columns, as_json=False)


@app.command()
def wait(
    deployment: Deployment = "latest",
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 600,
    as_json: Json = False,
) -> None:
    """Wait for the end of a deployment; status 1 unless it was promoted."""
    until = time.monotonic() + timeout
    with Services() as services:
        found = _get(services, deployment)
        while found["state"] not in FINAL and time.monotonic() < until:
            time.sleep(0.2)
            found = _get(services, str(found["id"]))
    show_one(found, COLUMNS, as_json=as_json)
    raise typer.Exit(0 if found["state"] == "promoted" else 1)


def _decision(verb: str, done: str, summary: str) -> None:
    def decide(
        deployment: Deployment, by: By = "", reason: Reason = "", as_json: Json = False
    ) -> None:
        with Services() as services:
            path = f"/v1/deployments/{_get(services, deployment)['id']}/{verb}"
            answer = services.post("deployer", path, _who(by, reason))
        _tell(answer, done, as_json=as_json)

    app.command(verb, help=summary)(decide)


for _verb, _done, _summary in (
    ("approve", "approved", "Let a version that waits for a person go on."),
    ("reject", "rejected", "Refuse a version that waits for a person."),
    ("pause", "paused", "Stop the journey where it is; traffic stays as it is."),
    ("resume", "resumed", "Go on with a paused deployment."),
    ("promote", "promoted", "Make the version champion without further evidence."),
    ("abort", "aborted", "End the deployment; the champion serves all."),
):
    _decision(_verb, _done, _summary)


@app.command()
def undo(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    by: By = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give a model's traffic back to its previous champion."""
    with Services() as services:
        answer = services.post("deployer", f"/v1/models/{model}/undo", _who(by, reason))
    _tell(answer, "undone", as_json=as_json)


def _get(services: Services, deployment: str) -> dict[str, Any]:
    if deployment == "latest":
        newest = next(iter(services.items("deployer", "/v1/deployments", 1)), None)
        if newest is None:
            raise CallError("there is no deployment yet")
        deployment = str(newest["id"])
    found: dict[str, Any] = services.get("deployer", f"/v1/deployments/{deployment}")
    return found


def _who(by: str, reason: str) -> dict[str, object]:
    import getpass

    return {"by": by or getpass.getuser(), "reason": reason or "asked on the command line"}


def _tell(answer: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        show_json(answer)
    else:
        console.print(f"{done}: {answer.get('why') or answer.get('state') or 'ok'}", markup=False)
