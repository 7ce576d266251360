"""What is wrong with the files of a commit: where, and what to do about it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from loopwright_common.errors import InvalidError

T = TypeVar("T")


class FileFault(NamedTuple):
    """What is wrong at a place of a file, in a sentence that begins after the place's name.

    `line` and `column` count from 1 and are None where not known; `key` is dotted, and empty where
    the fault is of the file as a whole.
    """

    file: str
    sentence: str
    line: int | None = None
    column: int | None = None
    key: str = ""

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.file, self.line, self.column) if p is not None)
        return ": ".join(part for part in (place, self.key, self.sentence) if part)


class FileError(InvalidError):
    """A file that cannot be used, with all that was found wrong with it, a line for each."""

    def __init__(self, faults: Sequence[FileFault]) -> None:
        first = faults[0]
        super().__init__("\n".join(map(str, faults)), field=first.key or first.file)
        self.faults = faults


class FaultCollector:
    """Reads the parts of a file one after another, and says what is wrong with all of them."""

    def __init__(self) -> None:
        self.faults: list[FileFault] = []

    def part(self, read: Callable[[], T], otherwise: T) -> T:
        """What `read` gives; `otherwise` where it raises a FileError, whose faults are kept."""
        try:
            return read()
        except FileError as error:
            self.faults += error.faults
            return otherwise

    def raise_all(self) -> None:
        """FileError with what was wrong so far, in the order of the file."""
        if self.faults:
            raise FileError(sorted(self.faults, key=_place))


def _place(fault: FileFault) -> tuple[str, int, int]:
    return fault.file, fault.line or 0, fault.column or 0
