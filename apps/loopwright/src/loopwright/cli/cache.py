"""`loopwright cache`: kept results of stages, why they are reused or not, and clearing them."""

from typing import Annotated, Any

import typer

from loopwright.cli.runs import id_of
from loopwright.client import Services
from loopwright.output import Column, Json, console, show_items, show_json
from loopwright_common.wording import counted

app = typer.Typer(no_args_is_help=True, help="Kept results of stages.")
Named = Annotated[
    str, typer.Argument(metavar="PIPELINE|RUN", help="A pipeline, a run's id, or `latest`.")
]
STAGES: list[Column] = [
    "name",
    "verdict",
    ("key", lambda stage: (stage["key"] or "").removeprefix("sha256:")[:12]),
    ("nearest", lambda stage: (stage["nearest"] or {}).get("commit", "")[:7]),
    "why",
]
DOOMED: list[Column] = [
    "stage",
    "repository",
    ("commit", lambda entry: entry["commit"][:7]),
    "kept_at",
    "bytes",
    "why",
]


@app.command()
def explain(
    named: Named,
    stage: Annotated[str | None, typer.Argument(help="Only this stage, with its key.")] = None,
    as_json: Json = False,
) -> None:
    """What each stage would do now, and why: reused, or run and what differs."""
    with Services() as services:
        is_run = named == "latest" or named.count("-") == 4
        which = {"run": id_of(services, named)} if is_run else {"pipeline": named}
        explanation = services.get("trainer", "/v1/cache/explain", stage=stage, **which)
    if as_json:
        show_json(explanation)
        return
    console.print(f"{explanation['pipeline']} at commit {explanation['commit'][:7]}", markup=False)
    show_items(explanation["stages"], STAGES, as_json=False, none="it has no stages")
    if stage is not None:
        _show_key(explanation["stages"][0])


@app.command()
def gc(
    older_than: Annotated[str | None, typer.Option(help="Such as 30d or 12h.")] = None,
    keep: Annotated[int | None, typer.Option(min=0, help="The newest per stage.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Forget results whose outputs are gone, that are too old, or that are too many."""
    limits = {"older_than_seconds": _seconds(older_than), "keep": keep, "dry_run": dry_run}
    with Services() as services:
        done = services.post("trainer", "/v1/cache/gc", limits)
    if as_json:
        show_json(done)
        return
    show_items(done["items"], DOOMED, as_json=False, none="nothing to forget")
    if done["items"]:
        outcome = "would be forgotten" if dry_run else "forgotten"
        freed, left = done["bytes_freed"], done["bytes_left"]
        text = f"{counted(len(done['items']), 'result')} {outcome}, {counted(freed, 'byte')} freed"
        text += f", {left} left: {done['left']}"
        console.print(text, markup=False, highlight=False)


def _show_key(stage: dict[str, Any]) -> None:
    if stage["parts"] is None:
        return
    console.print(f"\nkey {stage['key']} follows from", markup=False, highlight=False)
    for name, value in stage["parts"].items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for part, content in parts:
            label = f"{name} {part}".strip()
            console.print(f"  {label:32} {content}", markup=False, highlight=False)
    for phrase in stage["differences"]:
        console.print(f"differs from the nearest: {phrase}", markup=False, highlight=False)


def _seconds(text: str | None) -> float | None:
    from loopwright_common.deploy_policy import parse_duration

    if text is None:
        return None
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    return duration.total_seconds()
