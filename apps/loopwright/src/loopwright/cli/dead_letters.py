"""`loopwright dead-letters`: events that no retry could help, and what to do with them."""

import getpass
from enum import StrEnum
from typing import Annotated, Any

import typer

from loopwright.client import PORTS, CallError, Services
from loopwright.output import Column, Json, Limit, console, show_items, show_json, show_one
from loopwright_common.errors import LoopwrightError

app = typer.Typer(no_args_is_help=True, help="Events that could not be handled.")
COLUMNS: list[Column] = [
    ("id", lambda letter: letter["id"][:8]),
    *("failed_at", "consumer", "topic", "key", "attempts", "state", "error"),
]
FIELDS: list[Column] = [
    *("id", "service", "consumer", "state", "error", "attempts", "topic", "partition", "offset"),
    *("key", "time", "first_failed_at", "failed_at", "code_version"),
    *("decided_at", "decided_by", "reason", "headers", "value", "value_base64"),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="An id, or enough of its beginning.")]
Consumer = Annotated[str | None, typer.Option(help="Only of this consumer.")]
Topic = Annotated[str | None, typer.Option(help="Only of this topic.")]
By = Annotated[str, typer.Option(help="Who decides.", default_factory=getpass.getuser)]


class DeadLetterState(StrEnum):
    """What has been decided of a dead letter; `any` to ask for all."""

    DEAD = "dead"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    ANY = "any"


@app.command("list")
def list_(
    consumer: Consumer = None,
    topic: Topic = None,
    state: Annotated[
        DeadLetterState, typer.Option(help="`dead`: nobody has decided yet.")
    ] = DeadLetterState.DEAD,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Dead letters of every service that has any, the newest first."""
    with Services() as services:
        letters = [
            {"service": service, **letter}
            for service in _with_letters(services)
            for letter in services.items(
                service, "/v1/dead-letters", limit, consumer=consumer, topic=topic, state=state
            )
        ]
    newest = sorted(letters, key=lambda letter: str(letter["failed_at"]), reverse=True)[:limit]
    show_items(newest, COLUMNS, as_json=as_json, none="no dead letters")
    if newest and not as_json:
        console.print(
            "\n`loopwright dead-letters show ID` says more; once the cause is mended, `replay` "
            "handles one again, and `discard` gives it up"
        )


@app.command()
def show(id: Id, as_json: Json = False) -> None:
    """Where a record came from, what it holds, and why it could not be handled."""
    with Services() as services:
        show_one(_found(services, id), FIELDS, as_json=as_json)


@app.command()
def replay(
    by: By,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="One dead letter.")] = None,
    consumer: Annotated[str | None, typer.Option(help="All of this consumer.")] = None,
    topic: Annotated[str | None, typer.Option(help="Of the consumer, only this topic.")] = None,
    as_json: Json = False,
) -> None:
    """Let its consumer handle a record once more: one by ID, or all of a consumer."""
    if (id is None) == (consumer is None):
        raise typer.BadParameter("give an ID, or --consumer with or without --topic")
    if topic is not None and consumer is None:
        raise typer.BadParameter("--topic belongs to --consumer")
    with Services() as services:
        if id is not None:
            letter = _found(services, id)
            path = f"/v1/dead-letters/{letter['id']}/replay"
            answer = services.post(letter["service"], path, {"by": by})
            text = f"{letter['consumer']} handles {letter['id']} again"
        else:
            answer = _replay_all(services, {"consumer": consumer, "topic": topic, "by": by})
            text = f"{consumer} handles {answer['replayed']} dead letters again"
    _show_outcome(answer, f"{text}; those that fail again come back to the list", as_json=as_json)


@app.command()
def discard(
    id: Id,
    reason: Annotated[str, typer.Option(help="Why; it stays in the history.")],
    by: By,
    as_json: Json = False,
) -> None:
    """Give a record up for good, with a reason."""
    with Services() as services:
        letter = _found(services, id)
        path = f"/v1/dead-letters/{letter['id']}/discard"
        answer = services.post(letter["service"], path, {"reason": reason, "by": by})
    _show_outcome(
        answer, f"{letter['id']} is discarded; `list --state discarded` shows it", as_json
    )


def _replay_all(services: Services, selection: dict[str, Any]) -> Any:
    service = str(selection["consumer"]).partition(".")[0]
    if service not in PORTS:
        raise LoopwrightError(
            f"{selection['consumer']!r} is no consumer; they are named in `loopwright dead-letters "
            "list`, such as registry.archive"
        )
    return services.post(service, "/v1/dead-letters/replay", selection)


def _found(services: Services, id: str) -> dict[str, Any]:
    """The letter, whichever service has it, and that service's name."""
    for service in _with_letters(services):
        try:
            return {"service": service, **services.get(service, f"/v1/dead-letters/{id}")}
        except CallError as error:
            if error.status != 404:
                raise
    raise LoopwrightError(f"no dead letter {id}; see `loopwright dead-letters list --state any`")


def _with_letters(services: Services) -> list[str]:
    """The services that keep dead letters: those with a database."""
    return [service for service in PORTS if _keeps_letters(services, service)]


def _keeps_letters(services: Services, service: str) -> bool:
    try:
        services.get(service, "/v1/dead-letters", limit=1)
    except CallError as error:
        if error.status == 404:
            return False
        raise
    return True


def _show_outcome(answer: Any, text: str, as_json: bool) -> None:
    if as_json:
        show_json(answer)
    else:
        console.print(text, markup=False)
