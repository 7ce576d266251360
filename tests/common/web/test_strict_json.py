"""What is JSON, and what only looks like it."""

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.web.strict_json import loads


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"nonsense", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b'{"a": 1, "b": 2, "a": 3}', "key 'a' is there twice"),
        (b'[{"b": {"a": 1, "a": 1}}]', "key 'a' is there twice"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_what_two_readers_could_take_for_different_things_is_refused(
    body: bytes, says: str
) -> None:
    with pytest.raises(InvalidError, match=says):
        loads(body)


def test_json_is_read() -> None:
    assert loads(b'{"a": [1, 2.5, null, "\xc3\xa9"], "b": {"a": true}}') == {
        "a": [1, 2.5, None, "\u00e9"],
        "b": {"a": True},
    }
    assert loads(b"[" * 64 + b"]" * 64)
