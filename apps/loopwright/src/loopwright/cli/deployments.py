"""`loopwright deployments`: versions on their way to traffic."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from loopwright.cli.deploying import watching
from loopwright.cli.deploying.canary_looks import COMPARISONS, compared, judged, show_judged
from loopwright.cli.deploying.offers import show_offers
from loopwright.cli.deploying.pipeline_plan import PLAN, show_plan
from loopwright.cli.deploying.staging_report import show_report
from loopwright.cli.models import split
from loopwright.cli.runs import failed_run
from loopwright.client import CallError, Services
from loopwright.output import (
    Column,
    Json,
    Limit,
    Row,
    clock_time,
    console,
    errors,
    show_items,
    show_json,
    show_one,
)

app = typer.Typer(no_args_is_help=True, help="Deployments: from a version to its traffic.")


def _since(deployment: Row) -> str:
    return clock_time(deployment["state_since"])


def _traffic(deployment: Row) -> str:
    arms = (deployment.get("route") or {}).get("arms", [])
    return ", ".join(f"version {arm['version']} {arm['weight']:.0%}" for arm in arms)


COLUMNS: list[Column] = ["model", "version", "state", "champion", ("since", _since), "why"]
FIELDS: list[Column] = [
    *("id", "model", "version", "state", "why", "champion", ("since", _since)),
    *("previous", "canary_step", ("deadline", lambda record: clock_time(record["deadline"]))),
    *(("traffic", _traffic), "report"),
]
CHECKS: list[Column] = ["name", "verdict", "sentence"]
STEPS: list[Column] = [("time", lambda step: clock_time(step["at"])), "state", "by", "why"]
PAUSED = 3
"""Exit status of who waited for a deployment that now waits for a person."""
FINAL = frozenset({"promoted", "rejected", "rolled-back", "superseded", "aborted"})
Deployment = Annotated[str, typer.Argument(help="MODEL/VERSION, an id, or `latest`.")]
Gate = Literal["approval", "canary", "step", "window"]
By = Annotated[str, typer.Option(help="Who decides.")]
Reason = Annotated[str, typer.Option(help="Why.")]


@app.command("list")
def list_(limit: Limit = 20, as_json: Json = False) -> None:
    """The newest deployments."""
    with Services() as services:
        deployments = services.items("deployer", "/v1/deployments", limit)
    show_items(deployments, COLUMNS, as_json=as_json, none="no deployments yet")


@app.command()
def show(deployment: Deployment, as_json: Json = False) -> None:
    """A deployment, what a person may do, its steps so far and its checks."""
    with Services() as services:
        record = _get(services, deployment)
    show_one(record, FIELDS, as_json=as_json)
    if as_json:
        return
    show_offers(record)
    for items, columns in ((record["steps"], STEPS), (record["checks"], CHECKS)):
        console.print()
        show_items(items, columns, as_json=False)
    if counted := compared(record["checks"]):
        console.print()
        show_items(counted, COMPARISONS, as_json=False)


@app.command()
def report(deployment: Deployment, as_json: Json = False) -> None:
    """What staging found: recorded calls that the version does not answer, or answers otherwise."""
    with Services() as services:
        path = _path(services, deployment, "report")
        found = services.get("deployer", path)
    if as_json:
        show_json(found)
    else:
        show_report(found)


@app.command()
def judge(
    deployment: Deployment,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A pipeline file: what its `deploy:` would have decided."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a canary again by what it was judged by: status 1 where the verdicts differ."""
    with Services() as services:
        looks = judged(services, str(_get(services, deployment)["id"]), file)
    if as_json:
        show_json({"items": looks})
    else:
        show_judged(looks, tried=file)
    if file is None and not all(look["same"] for look in looks):
        raise typer.Exit(1)


@app.command()
def plan(
    deployment: Annotated[
        str | None, typer.Argument(help="MODEL/VERSION, an id, or `latest`.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="A pipeline file to check, but for its stages; needs no service."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a deployment goes through, and what is done; with --file, what each version of a
    pipeline will go through, or all that is wrong with its policy (status 1)."""
    if file is not None and deployment is None:
        show_plan(file, as_json=as_json)
        return
    if deployment is None or file is not None:
        raise typer.BadParameter("name a deployment or give --file, one of them")
    with Services() as services:
        path = _path(services, deployment, "plan")
        record = services.get("deployer", path)
    if as_json:
        show_json(record)
    else:
        show_items(record["steps"], PLAN, as_json=False)


@app.command()
def wait(
    deployment: Deployment = "latest",
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 600,
    as_json: Json = False,
) -> None:
    """Wait until a deployment is at its end or paused: status 0 promoted, 3 paused, else 1."""
    until = time.monotonic() + timeout
    told: str | None = None
    with Services() as services:
        record = _if_there(services, deployment)
        ends = FINAL | {"paused"}
        while (record is None or record["state"] not in ends) and time.monotonic() < until:
            time.sleep(0.2)
            told = told if record else _tell_failed_run(services, deployment, told)
            record = _if_there(services, str(record["id"]) if record else deployment)
        record = record or _get(services, deployment)
    show_one(record, FIELDS, as_json=as_json)
    if not as_json:
        show_offers(record)
    if record["promoted_at"] and record["state"] != "rolled-back":
        raise typer.Exit(0)
    raise typer.Exit(PAUSED if record["state"] == "paused" else 1)


@app.command()
def watch(deployment: Deployment = "latest") -> None:
    """Follow a deployment to its end: its share, its steps, what its canary counts, and why."""
    with Services() as services:
        deployment_id = _id(services, deployment)
        watching.watch(
            lambda: _get(services, deployment_id), lambda record: record["state"] in FINAL
        )


def _decision(verb: str, summary: str) -> None:
    def decide(
        deployment: Deployment, by: By = "", reason: Reason = "", as_json: Json = False
    ) -> None:
        with Services() as services:
            path = _path(services, deployment, verb)
            answer = services.post("deployer", path, _who(by, reason))
        _tell(answer, as_json=as_json)

    app.command(verb, help=summary)(decide)


for _verb, _summary in (
    ("approve", "Let a version that waits for a person go on."),
    ("reject", "Refuse a version that waits for a person."),
    ("pause", "Stop the journey where it is; traffic stays as it is."),
    ("resume", "Go on with a paused deployment."),
    ("promote", "On through all gates: resume what is paused, try again what has ended."),
    ("retry", "Try a version again whose deployment has ended, through all gates."),
    ("abort", "End the deployment; the champion serves all."),
):
    _decision(_verb, _summary)


@app.command()
def skip(
    deployment: Deployment,
    gate: Annotated[
        Gate, typer.Argument(help="step: the canary's present one; window: closed times.")
    ],
    reason: Annotated[str, typer.Option(help="Why; it stays in the deployment's story.")],
    by: By = "",
    as_json: Json = False,
) -> None:
    """Let a version past a gate without what the gate asks for; staging is never skipped."""
    if not reason.strip():
        raise typer.BadParameter("say why the gate is skipped", param_hint="--reason")
    with Services() as services:
        path = _path(services, deployment, "skip")
        answer = services.post("deployer", path, {**_who(by, reason), "gate": gate})
    _tell(answer, as_json=as_json)


@app.command()
def undo(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    to: Annotated[int | None, typer.Option(help="A version that has been champion.")] = None,
    by: By = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give a model's traffic back to its previous champion."""
    with Services() as services:
        wanted = {**_who(by, reason), "version": to}
        answer = services.post("deployer", f"/v1/models/{model}/undo", wanted)
    _tell(answer, as_json=as_json)


def _path(services: Services, deployment: str, part: str) -> str:
    """Where a part of a deployment is, or something can be done to it."""
    return f"/v1/deployments/{_get(services, deployment)['id']}/{part}"


def _get(services: Services, deployment: str) -> dict[str, Any]:
    record: dict[str, Any] = services.get(
        "deployer", f"/v1/deployments/{_id(services, deployment)}"
    )
    return record


def _if_there(services: Services, deployment: str) -> dict[str, Any] | None:
    try:
        return _get(services, deployment)
    except CallError as error:
        if error.status == 404:
            return None
        raise


def _tell_failed_run(services: Services, deployment: str, told: str | None) -> str | None:
    """Say once that the run failed from which the deployment was to come; returns what is told."""
    pipeline = None if deployment == "latest" else split(deployment)[0]
    failed = failed_run(services, pipeline)
    if failed and failed != told:
        errors.print(f"{failed}; waiting for the next run", markup=False, highlight=False)
    return failed or told


def _id(services: Services, deployment: str) -> str:
    """The id of the newest deployment so named; CallError (404) when there is none."""
    model, version = split(deployment)
    if deployment == "latest":
        newest = services.items("deployer", "/v1/deployments", 1)
    elif version:
        listed = services.items("deployer", "/v1/deployments", 500, model=model)
        newest = [each for each in listed if str(each["version"]) == version]
    else:
        return deployment
    if not newest:
        named = "there" if deployment == "latest" else f"for {model} version {version} there"
        raise CallError(f"{named} is no deployment yet", 404)
    return str(newest[0]["id"])


def _who(by: str, reason: str) -> dict[str, object]:
    import getpass

    return {"by": by or getpass.getuser(), "reason": reason or "asked on the command line"}


def _tell(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(record)
        return
    text = f"{record['model']} version {record['version']} is {record['state']}: {record['why']}"
    console.print(text, markup=False)
    show_offers(record)
