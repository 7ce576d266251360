"""What has to hold of a model after every step, by books of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from loopwright_deployer.deployments.domain import Deployment
from tests.deployer.journeys.books import SKIPS, WISHES, Books
from tests.deployer.journeys.events import EventsOracle
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

MARGIN = 0.01
"""The loss by which a version may be worse than the champion, by the default policy."""
DECISIONS = WISHES | {"undo", "skip-step", "skip-canary"}
"""What people decide of a model, not only of the version that they name."""
MOVES_OTHERS = DECISIONS | {"register", "acknowledge"}


class Oracle:
    """Judges one model's journey; AssertionError where a promise is broken."""

    def __init__(
        self,
        losses: Mapping[int, float],
        policies: Mapping[int, Mapping[str, Any]],
        known: dict[str, str],
    ) -> None:
        """`losses` are the true ones by version; `known` has the chain of every event so far."""
        self.books = Books(losses, policies)
        self.was = Snapshot()
        self._events = EventsOracle(self.books, known)

    def observe(self, act: Act, now: Snapshot, events: Sequence[Emitted]) -> None:
        """Judge what an act has done."""
        books, was = self.books, self.was
        if act.outcome != "done":
            _nothing_happened(act, was, now, events)
            if act.kind == "alias" and act.outcome == "nothing" and not act.again:
                self._check_decision(books.wanted(act, was, now), now)
            return
        loss, champion = self._served_loss(was), version_of(was, books.champion)
        self._worker_saw_the_present(act)
        self._check_what_moved(act, now)
        self._check_new_attempts(act, now)
        books.keep(act, was, now)
        self._check_states(now)
        self._check_decision(books.decided, now)
        self._check_route(now)
        self._check_loss(act, now, loss)
        self._events.judge(act, was, now, events, champion)
        self.was = now

    def _worker_saw_the_present(self, act: Act) -> None:
        """Nothing is done by what a deployer saw earlier, once the deployment has moved."""
        if act.seen is None:
            return
        present = self.was.deployments[act.seen.id]
        for name in ("state", "step", "state_since", "gates", "deadline"):
            assert getattr(present, name) == getattr(act.seen, name), f"stale {name}"

    def _check_what_moved(self, act: Act, now: Snapshot) -> None:
        assert self.was.deployments.keys() <= now.deployments.keys(), "a deployment is gone"
        for one, before in self.was.deployments.items():
            after = now.deployments[one]
            if as_told(before) == as_told(after):
                continue
            assert one == act.deployment or act.kind in MOVES_OTHERS, f"{name_of(after)} moved"
            if before.state in ENDS - {S.PROMOTED}:
                restored = act.kind == "undo" and after.state is S.PROMOTED
                assert restored, f"{name_of(before)} had ended"
            if one != act.deployment:
                self._check_moved_with_another(act, before, after)

    def _check_moved_with_another(self, act: Act, before: Deployment, after: Deployment) -> None:
        name, had_traffic = name_of(after), before.id == self.books.under_way
        if before.id == self.books.champion:
            return
        if act.kind == "undo":
            assert (after.state is S.ABORTED) == had_traffic, name
            assert after.state in ENDS or after.state is before.state, name
        else:
            voided = act.kind in DECISIONS and after.state is before.state
            assert voided or after.state is S.SUPERSEDED, name
            assert not had_traffic, name

    def _check_new_attempts(self, act: Act, now: Snapshot) -> None:
        """A person's request alone starts another attempt, and never one of what serves."""
        for one in now.deployments.keys() - self.was.deployments.keys():
            fresh = now.deployments[one]
            assert fresh.version == act.version
            if act.kind == "register":
                assert fresh.attempt == 1
                continue
            assert act.kind in {"retry", "promote", "alias"}, f"{name_of(fresh)} from nowhere"
            champion = version_of(self.was, self.books.champion)
            assert fresh.version != champion, "it is champion already"
            assert not self.was.in_flight(fresh.version), "it is on its way already"
            assert self.books.under_way is None, "another one has traffic"

    def _check_states(self, now: Snapshot) -> None:
        """One champion, and one under way, at most."""
        books, found = self.books, now.deployments.values()
        serving = [d.id for d in found if d.champion]
        promoted = [d.id for d in found if d.state is S.PROMOTED]
        assert serving == promoted == ([books.champion] if books.champion else []), "champion"
        carrying = [d.id for d in found if d.carries_traffic]
        assert carrying == ([books.under_way] if books.under_way else []), "under way"

    def _check_decision(self, decided: str | None, now: Snapshot) -> None:
        """It ends what was asked for before and what is older; newer versions go on."""
        if decided is None:
            return
        version = now.deployments[decided].version
        for one, before in self.was.deployments.items():
            if one == decided or before.state in ENDS or before.carries_traffic:
                continue
            gives_way = one in self.books.asked or before.version < version
            ended = now.deployments[one].state in ENDS
            assert ended == gives_way, f"{name_of(before)}, and a decision for version {version}"

    def _check_route(self, now: Snapshot) -> None:
        """The route is what the books say, and who has traffic in it has passed its gates."""
        expected = self._expected(now)
        assert now.arms == len(now.weights), "a version has two arms"
        assert now.weights.keys() == expected.keys(), f"{dict(now.weights)} is not {expected}"
        for version, weight in expected.items():
            assert abs(now.weights[version] - weight) < 1e-9, f"{version}: {now.weights[version]}"
        if expected:
            assert abs(sum(now.weights.values()) - 1) < 1e-9
        assert now.loaded <= self.books.opened, "scorers load what staging has not let pass"
        assert not now.loaded & now.weights.keys()
        self._check_loaded(now)
        if self.books.under_way:
            self._may_have_traffic(now.deployments[self.books.under_way])

    def _check_loaded(self, now: Snapshot) -> None:
        """What is frozen, and else only what has been champion, has a name or goes on."""
        frozen = {version_of(now, one) for one in self.books.frozen}
        assert frozen <= now.loaded | now.weights.keys(), "a frozen version is not loaded"
        been = {version_of(now, one) for one in self.books.been_champion}
        goes_on = {d.version for d in now.deployments.values() if d.state not in ENDS}
        strays = now.loaded - frozen - been - now.named - goes_on
        assert not strays, f"{strays} have ended and are loaded"

    def _may_have_traffic(self, mine: Deployment) -> None:
        books, name = self.books, name_of(mine)
        staged, champion = books.staged.get(mine.version), version_of(self.was, books.champion)
        assert staged is not None, f"{name} was never staged"
        assert staged.passed, f"{name}: staging was {staged.verdict}"
        assert staged.against == champion, f"{name} was staged beside {staged.against}"
        if "approval" in books.policies[mine.version]:
            assert mine.id in books.approved, f"{name} was not approved"
        if "windows" in books.policies[mine.version]:
            assert mine.id in books.hurried, f"{name}: its windows are closed"
        if books.share == 1 and champion is not None:
            assert mine.id in books.passed | books.skipped, f"{name}: its canary was not passed"

    def _check_loss(self, act: Act, now: Snapshot, before: float | None) -> None:
        """What callers meet is never worse by more than the margin, unless a person wants it so."""
        books, after = self.books, self._served_loss(now)
        version = version_of(now, books.under_way)
        by_person = act.kind in {"undo", "abort"} | SKIPS
        if before is None or after is None or version is None or by_person:
            return
        if not books.staged[version].accepted:
            assert after <= before + MARGIN + 1e-9, f"the loss rises from {before} to {after}"

    def _served_loss(self, snapshot: Snapshot) -> float | None:
        weights = self._expected(snapshot)
        losses = self.books.losses
        return sum(w * losses[v] for v, w in weights.items()) if weights else None

    def _expected(self, snapshot: Snapshot) -> dict[int, float]:
        """The live weights that there have to be."""
        books, weights = self.books, dict[int, float]()
        if (champion := version_of(snapshot, books.champion)) is not None and books.share < 1:
            weights[champion] = 1 - books.share
        if (version := version_of(snapshot, books.under_way)) is not None:
            weights[version] = books.share
        return weights


def _nothing_happened(act: Act, was: Snapshot, now: Snapshot, events: Sequence[Emitted]) -> None:
    """What was refused, or died before it committed, is not half done."""
    assert not events, f"{act.outcome}, and told {[event.topic for event in events]}"
    before = {one: as_told(d) for one, d in was.deployments.items()}
    assert before == {one: as_told(d) for one, d in now.deployments.items()}
    assert (was.revision, was.weights) == (now.revision, now.weights)
