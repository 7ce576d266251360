"""What a name or a path may be made of, whoever gives it, and how it is shown."""

import os
import unicodedata
from collections.abc import Collection
from difflib import get_close_matches

import idna

from loopwright_common.errors import InvalidError

_UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and a symbol by their category, which fonts show as nothing."""
_ZERO_WIDTH_JOINER = "\u200d"
_JOINERS = frozenset({"\u200c", _ZERO_WIDTH_JOINER})
_EMOJI_STYLES = "\ufe0e\ufe0f"
_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_EMOJI = (
    ("\u2190", "\u21ff"), ("\u2600", "\u27bf"), ("\u2b00", "\u2bff"), ("\U0001f000", "\U0001faff"),
)  # fmt: skip
"""Blocks of what a joiner may make one picture of."""
_KEYS, _KEYCAP = frozenset("0123456789#*"), "\u20e3"
_MONGOLIAN = frozenset("\u180b\u180c\u180d\u180f")
_NEAR = 60
"""Characters around a joiner that are looked at."""
_NAMELESS = {
    "Cc": "(a control character)",
    "Cn": f"(assigned to nobody in Unicode {unicodedata.unidata_version})",
    "Co": "(a character of private use)",
    "Cs": "(half of a pair)",
}
DEEPEST = 64
"""Directories above a file, within what others have written: deeper ones are of no use to anybody,
and functions that call themselves for each do not get far."""
_LONGEST_NAME, _LONGEST_PATH = 255, 3072
"""Bytes. Systems take 4096 in a path; the rest is for where the directory itself lies."""
_LONGEST_SHOWN = 200


def has_control_characters(name: str) -> bool:
    """Whether it holds what a log or a terminal would obey instead of show, such as a newline."""
    return any(unicodedata.category(character) in _UNSHOWN for character in name)


def check_name(field: str, name: str) -> None:
    """Raise InvalidError where people could not tell a name from another by looking at it.

    Refused are white space at its ends, and whatever is not shown: control characters, marks of
    direction, characters of no width, blanks that count as letters, characters of private use and
    those that Unicode assigns to nobody. A joiner or a variation selector is allowed where what is
    shown depends on it: within words of the scripts that join letters (RFC 5892, appendix A), in
    emoji, and after ideographs and Mongolian letters. Any other name of any script is allowed.
    """
    if name.isascii() and name.isprintable() and name == name.strip():
        return
    if name != name.strip():
        end = name[0] if name[0].isspace() else name[-1]
        raise InvalidError(
            f"{field} {shown(name)!r} begins or ends with {_described(end)}; leave it out",
            field=field,
        )
    for found in (_never_shown(name), _shown_as_nothing(name)):
        if found:
            raise InvalidError(
                f"{field} '{shown(name)}' holds {_described(found)}, which is not shown where it"
                " stands, so that nobody could tell it from another name; leave it out",
                field=field,
            )


def _never_shown(name: str) -> str | None:
    return next((c for c in name if c in _BLANK or _is_hidden(c)), None)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def _shown_as_nothing(name: str) -> str | None:
    """The first joiner or selector that changes nothing of what is shown."""
    for position, character in enumerate(name):
        before, after = name[:position], name[position + 1 :]
        if character in _JOINERS and not _joins(character, before, after):
            return character
        if _is_selector(character) and not _selects(character, before, after):
            return character
    return None


def _joins(joiner: str, before: str, after: str) -> bool:
    near, behind = before[-_NEAR:], after[:_NEAR]
    if joiner == _ZERO_WIDTH_JOINER and _is_emoji(_emoji_before(near)) and _is_emoji(behind[:1]):
        return True
    is_letter = unicodedata.category(behind[:1] or " ").startswith("L")
    return is_letter and idna.valid_contextj(near + joiner + behind, len(near))


def _emoji_before(text: str) -> str:
    """The last character, without what says in which style or colour it is shown."""
    return text.rstrip(_EMOJI_STYLES + _SKIN_TONES)[-1:]


def _is_emoji(character: str) -> bool:
    return any(first <= character <= last for first, last in _EMOJI)


def _is_selector(character: str) -> bool:
    return "VARIATION SELECTOR" in unicodedata.name(character, "")


def _selects(selector: str, before: str, after: str) -> bool:
    varied = before[-1:]
    if selector in _EMOJI_STYLES:
        is_key = varied in _KEYS and after.startswith(_KEYCAP)
        return bool(varied) and (is_key or unicodedata.category(varied) in ("So", "Sm"))
    script = "MONGOLIAN LETTER" if selector in _MONGOLIAN else "CJK"
    return unicodedata.name(varied or " ").startswith(script)


def _described(character: str) -> str:
    """The code point, with its name or what it is instead of one."""
    category = unicodedata.category(character)
    name = unicodedata.name(character, _NAMELESS.get(category, ""))
    return f"U+{ord(character):04X} {name}".rstrip()


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
