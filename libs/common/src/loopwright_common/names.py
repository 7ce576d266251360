"""What a name or a path may be made of, whoever gives it, and how it is shown."""

import os
import unicodedata
from collections.abc import Collection
from difflib import get_close_matches

_UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})
DEEPEST = 64
"""Directories above a file, within what others have written: deeper ones are of no use to anybody,
and functions that call themselves for each do not get far."""
_LONGEST_NAME, _LONGEST_PATH = 255, 3072
"""Bytes. Systems take 4096 in a path; the rest is for where the directory itself lies."""
_LONGEST_SHOWN = 200


def has_control_characters(name: str) -> bool:
    """Whether it holds what a log or a terminal would obey instead of show, such as a newline."""
    return any(unicodedata.category(character) in _UNSHOWN for character in name)


def path_fault(path: str) -> str | None:
    """What hinders a file at this relative path, as the rest of a sentence; None where nothing."""
    names = path.split("/")
    if len(names) > DEEPEST + 1:
        return f"lies over {DEEPEST} directories deep"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return f"has over {_LONGEST_PATH} bytes"
    if any(len(os.fsencode(name)) > _LONGEST_NAME for name in names):
        return f"has a name of over {_LONGEST_NAME} bytes"
    return None


def unknown_key(key: str, allowed: Collection[str]) -> str:
    """What is said of a key that nobody reads, with the one that may have been meant."""
    near = get_close_matches(shown(key), allowed, n=1)
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"unknown key{meant} allowed are {', '.join(sorted(allowed))}"


def shown(text: str) -> str:
    """The text for a person: what would be obeyed and not shown is escaped, a long middle cut."""
    if len(text) > _LONGEST_SHOWN:
        half = _LONGEST_SHOWN // 2
        text = f"{text[:half]}...{text[-half:]}"
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )
