"""What has to hold of the events of every step: each fact is told once, and as it is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from loopwright_deployer.deployments.domain import Deployment
from tests.deployer.journeys.books import Books
from tests.deployer.journeys.observed import (
    ENDS,
    Act,
    Emitted,
    S,
    Snapshot,
    as_told,
    name_of,
    version_of,
)

Told = Sequence[Mapping[str, Any]]


class EventsOracle:
    """Judges what one model's deployments emit; AssertionError where that is not what happened."""

    def __init__(self, books: Books, known: dict[str, str]) -> None:
        self._books = books
        self._known = known
        self._finished: set[str] = set()

    def judge(
        self,
        act: Act,
        was: Snapshot,
        now: Snapshot,
        events: Sequence[Emitted],
        champion: int | None,
    ) -> None:
        """`champion` is the version that was so before the act."""
        self._check_chains(events)
        told = _Topics(events)
        _check_routes(told.of("routes-changed"), was, now)
        self._check_changes(told.of("deployment-changed"), was, now)
        ended = {
            one: after.state
            for one, after in now.deployments.items()
            if after.state in ENDS and _state(was, one) is not after.state
        }
        self._check_ends(act, told.of("deployment-finished"), ended)
        _check_promotions(act, told.of("deployment-promoted"), champion)
        self._check_rollbacks(act, told.of("deployment-rolled-back"), was, now, ended)
        _check_approvals(told.of("approval-requested"), was, now)
        verdicts = [data["passed"] for data in told.of("deployment-validated")]
        assert verdicts == ([act.verdict == "passed"] if act.kind == "stage" else [])
        refused = told.of("promotion-refused")
        if act.kind == "alias":
            self._check_answer(act, was, now, champion, refused=len(refused) == 1)
        assert not refused or act.kind == "alias"
        told.require_all_judged()

    def _check_chains(self, events: Sequence[Emitted]) -> None:
        for event in events:
            assert event.id not in self._known, f"{event.topic} was told twice"
            assert event.causes, f"{event.topic} follows from nothing"
            for cause in event.causes:
                assert self._known.get(cause) == event.chain, f"{event.topic} left its chain"
            self._known[event.id] = event.chain

    def _check_changes(self, told: Told, was: Snapshot, now: Snapshot) -> None:
        """Every change of a deployment is told, and nothing is told of others."""
        first = {data["deployment_id"]: data for data in reversed(told)}
        last = {data["deployment_id"]: data for data in told}
        for one, after in now.deployments.items():
            before = was.deployments.get(one)
            changed = before is None or as_told(before) != as_told(after)
            assert changed == (one in last), f"{name_of(after)}: changed is {changed}"
            if before is None:
                assert first[one]["state"] == S.RECEIVED
            if changed:
                self._check_state_told(last[one], after, now)

    def _check_state_told(self, data: Mapping[str, Any], after: Deployment, now: Snapshot) -> None:
        """The state, the share that it has, what a person may do, until when and what then."""
        assert (data["state"], data["attempt"]) == (after.state, after.attempt)
        routed = after.id in (self._books.champion, self._books.under_way)
        weight = now.weights.get(after.version, 0.0) if routed else 0.0
        assert abs(data["weight"] - weight) < 1e-9, f"{name_of(after)} tells {data['weight']}"
        timed = after.deadline is not None
        assert (bool(data.get("until")), bool(data.get("then"))) == (timed, timed)
        assert bool(data.get("decisions")) == (after.state in {S.APPROVAL, S.PAUSED})
        if after.state is S.APPROVAL:
            policy = self._books.policies[after.version]["approval"]
            assert data["then"] == policy.get("then", "pause")

    def _check_ends(self, act: Act, told: Told, ended: Mapping[str, S]) -> None:
        """One end of each attempt: a champion's is its promotion."""
        promoted = act.deployment if act.kind == "acknowledge" else None
        former = self._books.been_champion - {promoted}
        expected = {one: str(state) for one, state in ended.items() if one not in former}
        assert {data["deployment_id"]: data["outcome"] for data in told} == expected
        assert len(told) == len(expected)
        assert not self._finished & expected.keys(), "it had finished"
        self._finished |= expected.keys()

    def _check_rollbacks(
        self, act: Act, told: Told, was: Snapshot, now: Snapshot, ended: Mapping[str, S]
    ) -> None:
        expected = {one for one, state in ended.items() if state is S.ROLLED_BACK}
        if act.kind == "undo":
            expected |= {one for one in ended if was.deployments[one].champion}
        assert Counter(data["deployment_id"] for data in told) == Counter(expected)
        for data in told:
            assert data.get("previous") == version_of(now, self._books.champion)

    def _check_answer(
        self, act: Act, was: Snapshot, now: Snapshot, champion: int | None, *, refused: bool
    ) -> None:
        """An alias starts the version on its way, or is refused, or names what serves anyway."""
        started = now.deployments.keys() > was.deployments.keys()
        promoting = self._books.share == 1 and version_of(was, self._books.under_way)
        if act.version in (champion, promoting):
            assert (started, refused) == (False, False)
        else:
            assert started != refused


class _Topics:
    """Events by topic; each is to be judged."""

    def __init__(self, events: Sequence[Emitted]) -> None:
        self._left: dict[str, list[Mapping[str, Any]]] = {}
        for event in events:
            self._left.setdefault(event.topic, []).append(event.data)

    def of(self, topic: str) -> Told:
        return self._left.pop(topic, [])

    def require_all_judged(self) -> None:
        assert not self._left, f"unexpected: {list(self._left)}"


def _check_routes(told: Told, was: Snapshot, now: Snapshot) -> None:
    """Revisions grow by one, and the last one told is the route."""
    revisions = [data["revision"] for data in told]
    assert revisions == list(range(was.revision + 1, now.revision + 1))
    weights = {arm["version"]: arm["weight"] for arm in told[-1]["arms"]} if told else was.weights
    assert weights == now.weights


def _check_promotions(act: Act, told: Told, champion: int | None) -> None:
    is_promotion = act.kind == "acknowledge" and act.verdict == "passed"
    expected = [(act.deployment, champion)] if is_promotion else []
    assert [(data["deployment_id"], data.get("previous")) for data in told] == expected


def _check_approvals(told: Told, was: Snapshot, now: Snapshot) -> None:
    asked = [
        one
        for one, after in now.deployments.items()
        if after.state is S.APPROVAL and _state(was, one) is not S.APPROVAL
    ]
    assert [data["deployment_id"] for data in told] == asked
    assert all(data["roles"] and data["until"] for data in told)


def _state(snapshot: Snapshot, one: str) -> S | None:
    before = snapshot.deployments.get(one)
    return before.state if before else None
