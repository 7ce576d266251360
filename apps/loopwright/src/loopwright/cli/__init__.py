"""`loopwright`: every command, each noun in its own module.

Exit status 0 when done, 1 when refused or failed (with the reason), 2 for wrong usage.
"""

import gc
from typing import Any

import typer
from typer.core import TyperGroup

from loopwright.cli import (
    cache,
    captured,
    dead_letters,
    deployments,
    events,
    local,
    models,
    monitor,
    repositories,
    runs,
    why,
)
from loopwright.output import errors
from loopwright_common.errors import LoopwrightError


class _Root(TyperGroup):
    """Failures with a reason end with status 1 and the reason, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        gc.freeze()  # what was imported is garbage never, and a look at it would delay the end
        try:
            return super().invoke(ctx)
        except LoopwrightError as error:
            errors.print(str(error), style="red", markup=False, soft_wrap=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A machine-learning loop that closes itself.",
)
for command in (local.up, local.demo, local.init, local.doctor, why.why):
    app.command()(command)
for name, group in {
    "repositories": repositories.app,
    "runs": runs.app,
    "models": models.app,
    "deployments": deployments.app,
    "cache": cache.app,
    "captured": captured.app,
    "events": events.app,
    "dead-letters": dead_letters.app,
    "monitor": monitor.app,
}.items():
    app.add_typer(group, name=name)
