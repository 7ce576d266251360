"""Inputs that ended a reader: made as like the sound file as they go, and kept by kind."""

from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import count

from tests.fuzz.formats import CORPUS, FORMATS, source_of

MAX_SIZE = 64 << 10
MAX_TRIES = 8
MAX_COMPARED = 8 << 10


@dataclass(frozen=True, slots=True)
class Finding:
    """An input, and in one word what it does to its reader."""

    kind: str
    content: bytes


def shrink(name: str, finding: Finding) -> Finding:
    """Take back each change to the sound file that the crash does not need."""
    from tests.fuzz.runs import crash_kind

    kind = crash_kind(name, finding.content)
    if kind is None:
        return finding  # it needs what was read before it
    sound = source_of(name).file.read_bytes()
    if len(sound) > MAX_COMPARED:
        return finding
    changes = SequenceMatcher(None, finding.content, sound, autojunk=False).get_opcodes()
    content = finding.content
    changed = [change for change in changes if change[0] != "equal"]
    for _, start, end, from_, to in reversed(changed[-MAX_TRIES:]):
        tried = content[:start] + sound[from_:to] + content[end:]
        if crash_kind(name, tried) == kind:
            content = tried
    return replace(finding, content=content)


def keep(name: str, finding: Finding) -> None:
    """Write it to the corpus, if it is small, beside those of the same kind that are there."""
    if len(finding.content) > MAX_SIZE:
        return
    suffix = FORMATS[name].file.rpartition(".")[2]
    kept = CORPUS / name / f"{finding.kind.replace('_', '-')}.{suffix}"
    others = count(2)
    while kept.exists():
        kept = kept.with_stem(f"{finding.kind.replace('_', '-')}-{next(others)}")
    kept.write_bytes(finding.content)
