"""Every archived topic ends in the archive: once, and as it came."""

import json
from dataclasses import replace

import httpx

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.cloudevents.codec import encode
from tests.registry.archive.facts import commit, events
from tests.registry.harness import RegistryHarness


async def test_a_redelivered_event_is_archived_once(
    client: httpx.AsyncClient, registry: RegistryHarness
) -> None:
    await registry.deliver(commit(), commit())
    await registry.deliver(commit())

    assert len((await events(client))["items"]) == 1


async def test_what_only_a_newer_producer_knows_is_kept(
    client: httpx.AsyncClient, registry: RegistryHarness, bus: SqliteBus
) -> None:
    known = encode(commit())
    body = {**json.loads(known.value), "reviewed_by": "b@x"}
    headers = {**known.headers, "ce_tenant": "blue"}
    await bus.publish([replace(known, headers=headers, value=json.dumps(body).encode())])
    await registry.deliver()

    [item] = (await events(client))["items"]
    assert (item["data"]["reviewed_by"], item["tenant"]) == ("b@x", "blue")
