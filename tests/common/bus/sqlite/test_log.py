"""What is true of the embedded log only."""

from pathlib import Path

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.errors import UnavailableError
from tests.common.bus_harness import TABLE, read_everything, record, values


async def test_a_second_process_cannot_open_the_log(bus: SqliteBus, tmp_path: Path) -> None:
    await bus.publish([record("a", b"1")])
    with pytest.raises(UnavailableError, match="locked"):
        await SqliteBus.open(tmp_path / "bus")


async def test_compaction_keeps_the_latest_record_of_each_key(bus: SqliteBus) -> None:
    await bus.publish(
        [record(key, value, TABLE) for key, value in [("a", b"1"), ("b", b"2"), ("a", b"3")]]
    )

    assert await bus.prune() == 1
    assert sorted(values(await read_everything(bus, TABLE))) == [b"2", b"3"]
