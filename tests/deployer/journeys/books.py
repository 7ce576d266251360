"""The oracle's books of one model, kept by what was seen to succeed.

They never go by what the deployer notes of gates: who was staged beside whom and with which
verdict, who was approved, whose canary passed and what people decided follows from the acts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.deployer.journeys.observed import ENDS, Act, S, Snapshot, version_of

SKIPS = frozenset({"skip-approval", "skip-step", "skip-canary"})
WISHES = frozenset({"alias", "promote", "retry"})
"""Requests that a version become champion."""
DEFAULT_WEIGHTS = (0.1, 0.5)


@dataclass(slots=True)
class Staged:
    """What staging said of a version, and beside which champion."""

    verdict: str
    against: int | None
    accepted: bool = False

    @property
    def passed(self) -> bool:
        """By its verdict, or since a person accepted an unclear one."""
        return self.verdict == "passed" or (self.verdict == "inconclusive" and self.accepted)


@dataclass(slots=True)
class Books:
    """What is known of a model, its deployments by their ids.

    `opened` are versions that staging has let pass, if beside another champion, `asked` attempts
    that people asked for, `hurried` those that they let past their windows. `share` is that of the
    deployment under way, in step `step` of its canary; `frozen` are those found worse
    that await a person; `decided` is the deployment that a person has just decided for.
    """

    losses: Mapping[int, float]
    policies: Mapping[int, Mapping[str, Any]]
    champion: str | None = None
    under_way: str | None = None
    share: float = 0.0
    step: int = 0
    staged: dict[int, Staged] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    approved: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    hurried: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    decided: str | None = None
    been_champion: set[str] = field(default_factory=set)
    timers: set[tuple[str, object]] = field(default_factory=set)

    def keep(self, act: Act, was: Snapshot, now: Snapshot) -> None:
        """Enter what an act has done; AssertionError where it could not have done so."""
        self.decided = None
        self.asked |= {one for one in now.deployments if now.deployments[one].attempt > 1}
        if act.kind == "undo":
            self._undone(was, now)
        elif act.deployment is not None and (note := _NOTES.get(act.kind)):
            note(self, act, act.deployment, was, now)
        self.frozen = {one for one in self.frozen if now.deployments[one].state is S.PAUSED}
        if act.kind in WISHES and (wanted := self.wanted(act, was, now)):
            self._decide(wanted)

    def weights(self, version: int) -> tuple[float, ...]:
        """The shares of a version's canary, step by step."""
        steps = self.canary(version).get("steps")
        return tuple(step["weight"] for step in steps) if steps else DEFAULT_WEIGHTS

    def canary(self, version: int) -> Mapping[str, Any]:
        """What the version's policy says of its canary."""
        canary: Mapping[str, Any] = self.policies[version].get("canary", {})
        return canary

    def wanted(self, act: Act, was: Snapshot, now: Snapshot) -> str | None:
        """The attempt that a wish is for: one that it began, or that serves, or is on its way.

        None where the wish was refused, since then it changes nothing.
        """
        mine = [one for one, each in now.deployments.items() if each.version == act.version]
        begun = [one for one in mine if one not in was.deployments]
        serving = [one for one in mine if one == self.champion]
        on_its_way = [one for one in mine if now.deployments[one].state not in ENDS]
        return next(iter([*begun, *serving, *on_its_way]), None)

    def _judged(self, act: Act, one: str, _was: Snapshot, now: Snapshot) -> None:
        assert act.verdict is not None
        deployment = now.deployments[one]
        expected = {"passed": S.VALIDATED, "failed": S.REJECTED, "inconclusive": S.PAUSED}
        assert deployment.state is expected[act.verdict]
        self.staged[deployment.version] = Staged(act.verdict, act.against)
        for found_before in (
            self.approved,
            self.passed,
            self.skipped,
            self.hurried,
            self.unclear,
        ):
            found_before.discard(one)
        if act.verdict == "inconclusive":
            self.unclear.add(one)
        if act.verdict == "passed":
            self.opened.add(deployment.version)

    def _entered(self, _act: Act, one: str, _was: Snapshot, now: Snapshot) -> None:
        deployment = now.deployments[one]
        assert deployment.state in {S.STAGING, S.APPROVAL, S.CANARY, S.PROMOTING}
        if deployment.state is S.CANARY:
            self.under_way, self.step = one, 0
            self.share = self.weights(deployment.version)[0]
        elif deployment.state is S.PROMOTING:
            self.under_way, self.share = one, 1.0

    def _approved(self, _act: Act, one: str, _was: Snapshot, _now: Snapshot) -> None:
        self.approved.add(one)

    def _hurried(self, _act: Act, one: str, _was: Snapshot, _now: Snapshot) -> None:
        self.hurried.add(one)

    def _resumed(self, _act: Act, one: str, _was: Snapshot, now: Snapshot) -> None:
        if one in self.unclear:
            self.unclear.discard(one)
            version = now.deployments[one].version
            self.staged[version].accepted = True
            self.opened.add(version)

    def _aborted(self, _act: Act, one: str, _was: Snapshot, _now: Snapshot) -> None:
        if one == self.under_way:
            self._withdrawn()

    def _expired(self, _act: Act, one: str, was: Snapshot, _now: Snapshot) -> None:
        assert was.deployments[one].state is S.APPROVAL, "it is no longer waited for"
        self._fired(one, was)

    def _fired(self, one: str, was: Snapshot) -> None:
        timer = (one, was.deployments[one].deadline)
        assert timer[1] is not None
        assert timer not in self.timers, "the timer had fired"
        self.timers.add(timer)

    def _measured(self, act: Act, one: str, was: Snapshot, now: Snapshot) -> None:
        """The canary has a verdict."""
        assert one == self.under_way
        version = now.deployments[one].version
        if act.verdict in ("failed", "harmful"):
            self._withdrawn()
            freezes = act.verdict == "failed" and self.canary(version).get("worse") == "freeze"
            expected = S.PAUSED if freezes else S.ROLLED_BACK
            assert now.deployments[one].state is expected, f"worse, and {now.deployments[one]}"
            if freezes:
                self.frozen.add(one)
        elif act.verdict == "passed":
            self._step_passed(one, version, self.passed)
        else:
            self._fired(one, was)
            if self.canary(version).get("then", "withdraw") == "withdraw":
                self._withdrawn()

    def _step_skipped(self, _act: Act, one: str, _was: Snapshot, now: Snapshot) -> None:
        assert one == self.under_way
        if self._step_passed(one, now.deployments[one].version, self.skipped):
            self._decide(one)

    def _step_passed(self, one: str, version: int, how: set[str]) -> bool:
        """Whether it was the canary's last step."""
        weights = self.weights(version)
        if self.step + 1 < len(weights):
            self.step += 1
            self.share = weights[self.step]
            return False
        how.add(one)
        self.share = 1.0
        return True

    def _canary_skipped(self, _act: Act, one: str, _was: Snapshot, _now: Snapshot) -> None:
        self.skipped.add(one)
        if one == self.under_way:
            self.share = 1.0
        self._decide(one)

    def _answered(self, act: Act, one: str, _was: Snapshot, _now: Snapshot) -> None:
        """The replicas serve it, or one cannot."""
        assert one == self.under_way
        self._withdrawn()
        if act.verdict == "passed":
            self.champion = one
            self.been_champion.add(one)

    def _undone(self, was: Snapshot, now: Snapshot) -> None:
        restored = [
            one
            for one, after in now.deployments.items()
            if after.state is S.PROMOTED and was.deployments[one].state is not S.PROMOTED
        ]
        assert len(restored) == 1, "undo goes back to one version"
        assert restored[0] in self.been_champion, "it has never been champion"
        assert version_of(was, self.champion) != version_of(now, restored[0]), "it is champion"
        self.champion = restored[0]
        self._withdrawn()
        self._decide(restored[0])

    def _withdrawn(self) -> None:
        self.under_way, self.share = None, 0.0

    def _decide(self, one: str) -> None:
        """What was skipped before for what has no traffic yet holds no longer."""
        self.decided = one
        self.skipped &= {one, self.under_way}
        self.hurried &= {one, self.under_way}


_Note = Callable[[Books, Act, str, Snapshot, Snapshot], None]
_NOTES: Mapping[str, _Note] = {
    "stage": Books._judged,
    "enter": Books._entered,
    "approve": Books._approved,
    "skip-approval": Books._approved,
    "skip-window": Books._hurried,
    "resume": Books._resumed,
    "promote": Books._resumed,
    "abort": Books._aborted,
    "timer": Books._expired,
    "canary": Books._measured,
    "guard": Books._measured,
    "skip-step": Books._step_skipped,
    "skip-canary": Books._canary_skipped,
    "acknowledge": Books._answered,
}
