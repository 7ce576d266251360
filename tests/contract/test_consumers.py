"""The consumers that common declares dead-letter topics for are those that the services run."""

from pathlib import Path

import httpx

from loopwright.embedded import composed
from loopwright_common.bus.topics import CONSUMERS


async def test_every_consumer_has_its_dead_letter_topic_declared(tmp_path: Path) -> None:
    names: list[str] = []
    async with composed(tmp_path) as services:
        for service in services:
            transport = httpx.ASGITransport(service.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                answer = await http.get("/v1/consumers")
            # The scorer reads tables and is in no group.
            if answer.status_code != 404:
                names += [each["name"] for each in answer.json()["items"]]

    assert sorted(names) == sorted(CONSUMERS)
