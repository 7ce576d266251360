"""What the doctor finds."""

from dataclasses import dataclass
from typing import Literal

State = Literal["well", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `bad` needs a person."""

    name: str
    state: State
    detail: str
