"""Path patterns of triggers: `*` within a folder, `**` across folders."""

import re
from collections.abc import Sequence
from functools import cache

_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_MEANING = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def any_matches(paths: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether one of the paths fits one of the patterns."""
    return any(_compiled(pattern).fullmatch(path) for pattern in patterns for path in paths)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    tokens = _TOKENS.findall(pattern)
    return re.compile("".join(_MEANING.get(token, re.escape(token)) for token in tokens))
