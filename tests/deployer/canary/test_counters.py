"""The canary's counters in a database: merged together as one by one."""

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopwright_common.database.database import Database
from loopwright_common.events import ServingMeasured
from loopwright_common.ids import new_id
from loopwright_deployer.canary.counters import CanaryCounters

reports = st.fixed_dictionaries(
    {
        "model_id": st.sampled_from(["a", "b"]),
        "replica": st.sampled_from(["r1", "r2"]),
        "epoch": st.sampled_from(["e1", "e2"]),
        "revision": st.integers(1, 2),
        "version": st.integers(1, 2),
        "calls": st.integers(0, 3),
        "errors": st.integers(0, 2),
        "refused": st.integers(0, 1),
        "tripped": st.sampled_from([None, None, None, "errors in a row"]),
    }
)


def measured(environment: str, calls: int, **fields: Any) -> ServingMeasured:
    return ServingMeasured(
        environment=environment, model="m", role="live", rows=calls, calls=calls,
        latency_edges=[0.1], latency_counts=[calls, 0], **fields,
    )  # fmt: skip


async def kept(database: Database, environment: str) -> object:
    async with database.read() as connection:
        counters = CanaryCounters(connection)
        return [await counters.of_model(environment, model) for model in ("a", "b")]


@given(batches=st.lists(st.lists(reports, max_size=6), min_size=1, max_size=4))
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_reports_merged_together_are_as_one_by_one_and_say_what_is_new(
    database: Database, batches: Sequence[Sequence[dict[str, Any]]]
) -> None:
    together, singly = new_id(), new_id()
    for batch in batches:
        before = await kept(database, together)
        async with database.unit_of_work() as uow:
            new = await CanaryCounters(uow.connection).merge_all(
                [measured(together, **each) for each in batch]
            )
        async with database.unit_of_work() as uow:
            news = {
                each["model_id"]
                for each in batch
                if await CanaryCounters(uow.connection).merge(measured(singly, **each))
            }
        after = await kept(database, together)

        assert {model for _, model in new} == news
        assert after == await kept(database, singly)
        assert bool(new) == (after != before)
