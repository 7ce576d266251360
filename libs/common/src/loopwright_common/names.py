"""What a name may be made of, whoever gives it."""

import unicodedata

_UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})


def has_control_characters(name: str) -> bool:
    """Whether it holds what a log or a terminal would obey instead of show, such as a newline."""
    return any(unicodedata.category(character) in _UNSHOWN for character in name)
