"""Tell others where the newest captured rows of a model are."""

from datetime import datetime

from loopwright_common.database import UnitOfWork
from loopwright_common.events import CapturedFile, RowsCaptured
from loopwright_monitor.captures.repository import CaptureFiles

ROWS = 1000
"""So many of the newest rows are told of, where they lie in no more files than are named."""
MAX_FILES = 256
_EACH_UNTIL = 200
_THEN_EVERY = 50


def is_telling_point(before: int, now: int) -> bool:
    """Whether others are told at this count of captured rows, so that replays tell the same.

    Of each batch of a model's first 200 rows, and then each time there are 50 more: a busy model's
    batches have more, and each batch of a quiet one would name hundreds of files.
    """
    return before < _EACH_UNTIL or now // _THEN_EVERY > before // _THEN_EVERY


async def tell_newest(
    uow: UnitOfWork, model_id: str, model: str, captured: int, until: datetime
) -> None:
    """Emit `rows-captured`; `captured` counts the model's rows, of which the last is of `until`."""
    files: list[CapturedFile] = []
    rows = 0
    for file in await CaptureFiles(uow.connection, model_id).newest(MAX_FILES):
        files.append(CapturedFile(digest=file.digest, rows=file.rows))
        rows += file.rows
        if rows >= ROWS:
            break
    data = RowsCaptured(model_id=model_id, model=model, captured=captured, until=until, files=files)
    await uow.emit(data, key=model_id, subject=f"models/{model}")
