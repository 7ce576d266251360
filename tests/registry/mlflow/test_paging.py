"""Pages of long lists."""

import httpx

from tests.registry.builders import call, error


async def test_pages_follow_each_other_and_bad_tokens_are_refused(
    client: httpx.AsyncClient,
) -> None:
    for name in "abc":
        await call(client, "POST", "registered-models/create", name=name)

    first = await call(client, "GET", "registered-models/search", max_results=2)
    second = await call(
        client, "GET", "registered-models/search",
        max_results=2, page_token=first["next_page_token"],
    )  # fmt: skip
    bad = await error(client, "GET", "registered-models/search", page_token="x")
    none = await error(client, "GET", "registered-models/search", max_results=0)

    names = [m["name"] for page in (first, second) for m in page["registered_models"]]
    assert names == ["a", "b", "c"]
    assert "next_page_token" not in second
    assert bad == none == (400, "INVALID_PARAMETER_VALUE")
