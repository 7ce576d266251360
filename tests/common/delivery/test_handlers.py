from dataclasses import dataclass, field
from typing import Any

from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.handlers import BoundBy, TwoPhaseHandler, bind
from loopwright_common.delivery.inbox import BoundTwoPhaseHandler
from loopwright_common.events import AliasChanged, CodeChanged, Event


@dataclass
class Seen:
    calls: list[object] = field(default_factory=list)


async def on_code_changed(event: Event[CodeChanged], _uow: UnitOfWork, seen: Seen) -> None:
    seen.calls.append(event)


async def read(event: Event[AliasChanged], seen: Seen) -> str:
    seen.calls.append(("read", event))
    return "what was read"


async def write(event: Event[AliasChanged], value: str, _uow: UnitOfWork, seen: Seen) -> None:
    seen.calls.append(("write", event, value))


HANDLERS: BoundBy[Seen] = {CodeChanged: on_code_changed, AliasChanged: TwoPhaseHandler(read, write)}


async def test_each_handler_is_given_the_context_it_was_bound_with() -> None:
    seen, other, event, uow = Seen(), Seen(), object(), object()
    bound: Any = bind(HANDLERS, seen)
    bind(HANDLERS, other)

    await bound[CodeChanged](event, uow)

    assert (seen.calls, other.calls) == ([event], [])


async def test_a_handler_in_two_parts_prepares_outside_the_transaction_and_applies_inside() -> None:
    event: Any = object()
    uow: Any = object()
    seen = Seen()
    bound: Any = bind(HANDLERS, seen)[AliasChanged]

    assert type(bound) is BoundTwoPhaseHandler
    value = await bound.prepare(event)
    await bound.apply(event, value, uow)

    assert seen.calls == [("read", event), ("write", event, "what was read")]
