"""The page of an API has nothing from elsewhere in it."""

import re

import httpx

from loopwright_common.observability.metrics import Metrics
from loopwright_common.web.app import create_app


async def test_the_page_of_an_api_loads_nothing_from_elsewhere() -> None:
    app = create_app("some", Metrics(), {})

    @app.get("/v1/things")
    async def things() -> None:
        """All <things> there are."""

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        page = await http.get("/docs")
        assert (await http.get("/redoc")).status_code == 404

    assert "GET /v1/things" in page.text
    assert "All &lt;things&gt; there are." in page.text
    assert not re.search(r"<script|https?:|src=", page.text)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
