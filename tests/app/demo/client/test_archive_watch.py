"""The state of the loop follows from its events alone."""

from collections.abc import Mapping
from typing import Any

import httpx

from loopwright.demo.client.archive_watch import ArchiveWatch, WatchedEvent

Events = list[tuple[str, Mapping[str, Any]]]


async def seen(events: Events) -> tuple[ArchiveWatch, list[WatchedEvent]]:
    """A watch that has read these events, two to a page."""
    items = [
        {
            "position": place,
            "id": f"e{place}",
            "type": f"dev.loopwright.{topic}.v1",
            "time": "2026-01-01T00:00:00Z",
            "data": data,
        }
        for place, (topic, data) in enumerate(events, start=1)
    ]

    def archive(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params.get("after", 0))
        page = items[after : after + 2]
        return httpx.Response(200, json={"items": page, "next": str(after + len(page))})

    heard: list[WatchedEvent] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(archive)) as http:
        watch = ArchiveWatch(http, "http://registry", heard.append)
        for _ in range(len(items)):
            await watch.read_new()
    return watch, heard


async def test_a_run_and_then_its_deployment_keep_it_busy() -> None:
    events: Events = [("retrain-requested", {"reason": "drift"})]
    watch, _ = await seen(events)
    assert (watch.busy, watch.state) == (True, "training (drift)")
    events += [("model-registered", {"version": 2}), ("training-finished", {})]
    watch, _ = await seen(events)
    assert (watch.busy, watch.state) == (True, "version 2 on its way")
    events += [("deployment-promoted", {"version": 2}), ("deployment-finished", {"version": 2})]
    watch, _ = await seen(events)
    assert (watch.busy, watch.champion) == (False, 2)


async def test_a_superseded_version_does_not_end_the_newer_ones_journey() -> None:
    watch, _ = await seen(
        [
            ("model-registered", {"version": 2}),
            ("model-registered", {"version": 3}),
            ("deployment-finished", {"version": 2}),
        ]
    )
    assert watch.deploying == 3


async def test_every_event_is_heard_once_and_labels_are_only_counted() -> None:
    watch, heard = await seen([("code-changed", {}), ("ground-truth-logged", {})] * 2)
    assert [event.id for event in heard] == ["e1", "e3"]
    assert watch.counted == {"ground-truth-logged": 2}


async def test_a_deployment_that_waits_for_a_person_keeps_nobody_busy_until_it_goes_on() -> None:
    events: Events = [
        ("model-registered", {"version": 2}),
        ("deployment-changed", {"version": 2, "state": "staging"}),
    ]
    watch, _ = await seen(events)
    assert (watch.busy, watch.state) == (True, "version 2 on its way")

    events += [
        ("deployment-changed", {"version": 2, "state": "paused"}),
        ("deployment-changed", {"version": 1, "state": "superseded"}),
    ]
    watch, _ = await seen(events)
    assert (watch.busy, watch.state) == (False, "version 2 paused")

    for later in (
        ("deployment-changed", {"version": 2, "state": "canary"}),
        ("model-registered", {"version": 3}),
    ):
        watch, _ = await seen([*events, later])
        assert watch.busy, later
