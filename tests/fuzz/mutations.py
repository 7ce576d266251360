"""Damage to model files: to their bytes, and to the numbers and names of their structure."""

import json
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

_NUMBERS = (-1, 0, 1, 2, 255, 2**15, 2**31 - 1, 2**31, 2**32, -(2**31), 2**63 - 1, 10**9)
_BYTES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00" * 8, b"-1", b"9" * 9)


def damage_bytes(content: bytes, draw: random.Random) -> bytes:
    """A few bytes changed, cut out, repeated or put elsewhere."""
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, size = draw.randrange(len(damaged) + 1), draw.choice((1, 1, 2, 4, 8, 64))
        part = bytes(damaged[at : at + size])
        damaged[at : at + size] = draw.choice(
            [b"", part * 2, draw.randbytes(size), draw.choice(_BYTES), part[::-1]]
        )
    return bytes(damaged)


def damage_text(content: bytes, draw: random.Random) -> bytes:
    """One or two numbers of the text replaced, or its bytes damaged."""
    numbers = list(re.finditer(rb"-?\d+", content))
    if not numbers or draw.random() < 0.2:
        return damage_bytes(content, draw)
    chosen = draw.sample(numbers, min(len(numbers), draw.choice((1, 1, 2))))
    for start, end in sorted((found.span() for found in chosen), reverse=True):
        content = content[:start] + str(draw.choice(_NUMBERS)).encode() + content[end:]
    return content


def damage_json(content: bytes, draw: random.Random) -> bytes:
    """One to three values of the document replaced, or its text damaged."""
    if draw.random() < 0.1:
        return damage_bytes(content, draw)
    document = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        holder, key = draw.choice(list(_spots(document)))
        holder[key] = _other(holder[key], holder, draw)
    return json.dumps(document, separators=(",", ":")).encode()


def damage_zip(content: bytes, draw: random.Random) -> bytes:
    """A member's content damaged, or the archive's own bytes."""
    if draw.random() < 0.15:
        return damage_bytes(content, draw)
    with zipfile.ZipFile(BytesIO(content)) as sound:
        members = {name: sound.read(name) for name in sound.namelist()}
    name = draw.choice(["schema.json", *members])
    damage: Callable[[bytes, random.Random], bytes] = (
        damage_json if name == "schema.json" else damage_bytes
    )
    members[name] = damage(members[name], draw)
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for each, part in members.items():
            archive.writestr(each, part)
    return made.getvalue()


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _spots(value[key])


def _other(value: Any, holder: Any, draw: random.Random) -> Any:
    if isinstance(value, list) and value and draw.random() < 0.7:
        return draw.choice([value[:-1], value * 2, value[::-1], [*value, value[0]]])
    if isinstance(value, str) and value.lstrip("-").isdecimal():
        return str(draw.choice(_NUMBERS))
    if isinstance(value, str) and draw.random() < 0.5:
        return draw.choice(["", value * 2, value[:-1], value.swapcase()])
    if isinstance(value, float) and draw.random() < 0.5:
        return draw.choice([1e308, -1e308, 1e-308, 0.0, -0.0, 1e39])
    others = holder if isinstance(holder, list) else list(holder.values())
    return draw.choice([draw.choice(_NUMBERS), None, [], {}, True, "x", draw.choice(others)])
