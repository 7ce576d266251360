"""A refusal in the words of the service that refuses."""

import httpx
import pytest

from loopwright.client import complaint


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"title": "Conflict", "status": 409, "detail": "it is final"}, "trainer: it is final"),
        ({"error_code": "X", "message": "no such model"}, "trainer: no such model"),
        ({"error": "unknown model"}, "trainer: unknown model"),
        ([], "trainer: []"),
    ],
)
def test_a_refusal_is_told_in_the_services_own_words(body: object, said: str) -> None:
    assert complaint("trainer", httpx.Response(409, json=body)) == said
