"""Sees where a task that holds a transaction awaits anything but the database.

The rule of the whole system: inside a unit of work nothing but the database is awaited, since a
service has one connection and everyone else waits for it.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import Engine

Task = asyncio.Task[Any]
SQLALCHEMY = "in greenlet_spawn"
"""Where SQLAlchemy itself waits, as for the end of a connection that a cancelled task left."""


class Watch:
    """Tasks that hold a transaction, tasks in a call to the database, and what was seen."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.transactions = 0
        self._holding: set[Task | None] = set()
        self._calling: set[Task | None] = set()

    def begins(self, _connection: object) -> None:
        if (task := _task_here()) is None:
            return
        self.transactions += 1
        if task in self._holding:
            self.faults.append(f"a second transaction at {_place_of(task)}")
        self._holding.add(task)

    def ends(self, _connection: object) -> None:
        self._holding.discard(_task_here())

    def paused(self) -> None:
        """The current task gives way to others."""
        task = asyncio.current_task()
        if task not in self._holding or task in self._calling:
            return
        if SQLALCHEMY not in (place := _place_of(task)):
            self.faults.append(f"awaits within a transaction at {place}")

    async def call(self, call: Coroutine[Any, Any, Any]) -> object:
        task = asyncio.current_task()
        self._calling.add(task)
        try:
            return await call
        finally:
            self._calling.discard(task)


class Watched(Coroutine[Any, Any, Any]):
    """A task's coroutine; the watch hears of every pause."""

    def __init__(self, inner: Coroutine[Any, Any, Any], watch: Watch) -> None:
        self.inner = inner
        self._watch = watch

    def send(self, value: Any) -> Any:
        return self._heard(self.inner.send(value))

    def throw(self, *error: Any) -> Any:
        # A task cancelled in a call loses its connection, and its transaction with it.
        if isinstance(error[0], asyncio.CancelledError):
            self._watch.ends(self)
        return self._heard(self.inner.throw(*error))

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.inner.__await__()

    def _heard(self, waits_for: Any) -> Any:
        self._watch.paused()
        return waits_for


@contextmanager
def watching() -> Generator[Watch, None, None]:
    """Watch every task started from here on, on the running loop."""
    watch = Watch()
    loop = asyncio.get_running_loop()
    before, execute = loop.get_task_factory(), aiosqlite.Connection._execute

    async def call(*given: Any, **named: Any) -> Any:
        return await watch.call(execute(*given, **named))  # type: ignore[no-untyped-call]

    def start(loop: asyncio.AbstractEventLoop, inner: Any, **options: Any) -> Task:
        # SQLAlchemy closes a connection, and with it what was only read, in a task of its own.
        if inner.__qualname__ == "AsyncConnection.close":
            watch.ends(inner)
        return asyncio.Task(Watched(inner, watch), loop=loop, **options)

    loop.set_task_factory(start)
    hooks = {"begin": watch.begins, "commit": watch.ends, "rollback": watch.ends}
    for name, hook in hooks.items():
        event.listen(Engine, name, hook)
    try:
        with patch.object(aiosqlite.Connection, "_execute", call):
            yield watch
    finally:
        for name, hook in hooks.items():
            event.remove(Engine, name, hook)
        loop.set_task_factory(before)


def _task_here() -> Task | None:
    """None in a thread that is no event loop's, as the event log has one."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _place_of(task: Task | None) -> str:
    """The innermost line that can be seen from outside, such as `api.py:17 in show`."""
    coroutine = task.get_coro() if task else None
    awaited: Any = coroutine.inner if isinstance(coroutine, Watched) else coroutine
    place = "?"
    while frame := getattr(awaited, "cr_frame", None):
        place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = awaited.cr_await
    return place
