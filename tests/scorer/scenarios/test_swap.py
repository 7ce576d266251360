"""Versions change under constant load, and nobody who asks notices."""

import asyncio

from tests.scorer.harness import ROW, ScorerHarness
from tests.scorer.listening import Client, listening

SWAPS = 100
PACKAGES = ("low", "high")
SCORES = (0.25, 0.75)


async def test_a_hundred_swaps_under_load_fail_no_call_and_no_version_answers_out_of_its_time(
    harness: ScorerHarness,
) -> None:
    served = announced = 1
    answered: set[int] = set()

    async def call(client: Client) -> None:
        while served <= SWAPS:
            oldest = served
            answer = await client.infer(ROW)
            assert answer.status == 200, answer.body
            version = int(answer.json()["model_version"])
            assert oldest <= version <= announced
            outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
            assert outputs["probabilities"][-1] == SCORES[version % 2]
            answered.add(version)
            await asyncio.sleep(0.002)

    async with harness.replica() as replica, listening(replica.service) as there:
        await harness.route(1, await harness.arm(1, PACKAGES[1]))
        await replica.serves(1)
        clients = [await there.connect() for _ in range(3)]
        callers = [asyncio.create_task(call(client)) for client in clients]
        for revision in range(2, SWAPS + 2):
            announced = revision
            await harness.route(revision, await harness.arm(revision, PACKAGES[revision % 2]))
            await replica.serves(revision)
            served = revision
        await asyncio.gather(*callers)

    assert len(answered) > SWAPS / 2
