"""Path patterns of triggers: `*` within a folder, `**` across folders.

They come with a commit, so none may take long, as a regular expression of many stars does. A path
is read once, against all patterns together: each of their parts has a bit, and a number holds those
that may come next.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

_PARTS = re.compile(r"(?:\*\*/)+|\*{2,}|\*|\?|.", re.DOTALL)


def any_matches(paths: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether one of the paths fits one of the patterns."""
    matcher = _Matcher(patterns)
    return any(matcher.matches(path) for path in paths)


class _Matcher:
    """Kinds of parts as sets of bits: what comes after a part has the next bit."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._characters: defaultdict[str, int] = defaultdict(int)
        self._first = self._end = self._one = self._folders = self._ends_folders = 0
        self._any = self._any_of_name = self._optional = 0
        bit = 1
        for pattern in patterns:
            self._first |= bit
            for part in _PARTS.findall(pattern):
                bit = self._add(part, bit)
            self._end |= bit
            bit <<= 1

    def matches(self, path: str) -> bool:
        after = self._reached(self._first)
        for character in path:
            moves, stays = self._characters.get(character, 0), self._any
            if character == "/":
                moves |= self._ends_folders
            else:
                moves |= self._one
                stays |= self._any_of_name
            after = self._reached((after & moves) << 1 | after & stays)
            if not after:
                return False
        return bool(after & self._end)

    def _add(self, part: str, bit: int) -> int:
        """The bit after the part."""
        if part.startswith("**/"):  # nothing, or anything that ends with the folder
            self._folders |= bit
            bit <<= 1
            self._any |= bit
            self._ends_folders |= bit
        elif part.startswith("*"):
            self._optional |= bit
            if part == "*":
                self._any_of_name |= bit
            else:
                self._any |= bit
        elif part == "?":
            self._one |= bit
        else:
            self._characters[part] |= bit
        return bit << 1

    def _reached(self, after: int) -> int:
        """With the parts behind those that may stand for nothing, as two at most in a row do."""
        folders = after & self._folders
        after |= folders << 1 | folders << 2
        return after | (after & self._optional) << 1
