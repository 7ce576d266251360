"""The embedded event bus: the log, and its readers in groups that share the partitions.

The members of a group are subscriptions in this process.
"""

from collections.abc import Sequence
from pathlib import Path

from loopwright_common.bus.interface import LoadPositions, Subscription, TopicPartition
from loopwright_common.bus.sqlite.log import SqliteLog
from loopwright_common.bus.sqlite.subscription import SqliteSubscription


class SqliteBus(SqliteLog):
    """`EventBus` in one file, for the one process that holds it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._groups: dict[str, list[SqliteSubscription]] = {}

    async def subscribe(
        self, group: str | None, topics: Sequence[str], load_positions: LoadPositions
    ) -> Subscription:
        subscription = SqliteSubscription(self, topics, load_positions, self._leave)
        if group is None:
            subscription.assign(subscription.partitions())
        else:
            self._groups.setdefault(group, []).append(subscription)
            self._rebalance(group)
        return subscription

    def _leave(self, subscription: SqliteSubscription) -> None:
        for group, members in self._groups.items():
            if subscription in members:
                members.remove(subscription)
                self._rebalance(group)

    def _rebalance(self, group: str) -> None:
        members = self._groups[group]
        shares: list[set[TopicPartition]] = [set() for _ in members]
        if not members:
            return
        everything = sorted(set().union(*(member.partitions() for member in members)))
        for number, partition in enumerate(everything):
            readers = [i for i, m in enumerate(members) if partition.topic in m.topics]
            shares[readers[number % len(readers)]].add(partition)
        for member, share in zip(members, shares, strict=True):
            member.assign(share)
