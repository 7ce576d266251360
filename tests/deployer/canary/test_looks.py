"""What is kept of a canary's looks: the same bits, a bounded number, and the newest always."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopwright_common.database.database import Database
from loopwright_common.deploy_policy import (
    CanaryPolicy,
    CanaryStep,
    ClosedWindow,
    DeployPolicy,
    WindowsPolicy,
)
from loopwright_common.errors import InvalidError
from loopwright_common.ids import new_id
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.call_counts import (
    BoundCalls,
    CallCounter,
    CounterKey,
    count_step,
    merge_reports,
)
from loopwright_deployer.canary.decisions import CanaryDecision, CanaryEvidence, decide_canary
from loopwright_deployer.canary.kept_looks import KeptLooks
from loopwright_deployer.canary.looks import (
    LOOKS_AT_ONE_GAP,
    MOST_LOOKS,
    CanaryLook,
    KeptLook,
    judge_again,
    number_of,
    read_evidence,
    write_evidence,
)

CHAMPION, CANARY = 1, 2
EDGES = (0.001, 0.1 + 0.2, 1e-5, 2.0)
START = datetime(2026, 3, 1, 9, 30, 15, 123457, UTC)
SUNDAYS = WindowsPolicy(zone="Europe/Berlin", closed=[ClosedWindow(days=["sun"])])
"""Closed when all begins."""
SERVED = Acknowledgement(True, "served by 1 live replica")
POLICY = DeployPolicy()

reports = st.tuples(
    st.sampled_from(["r1", "r2"]),
    st.sampled_from(["e1", "e2"]),
    st.sampled_from([CHAMPION, CANARY]),
    st.lists(st.integers(0, 400), min_size=5, max_size=5),
    st.integers(0, 40),
    st.integers(0, 9),
    st.sampled_from([None, None, None, None, "errors in a row: \u0000 \ud800"]),
)
acknowledgements = st.sampled_from(
    [SERVED, SERVED, SERVED, Acknowledgement(False, "waits for r2 to serve revision 3: ü")]
)
policies = st.builds(
    lambda margin, ratio, weights, worse, windows: DeployPolicy(
        canary=CanaryPolicy(
            margin=margin,
            error_ratio=ratio,
            steps=[CanaryStep(weight=each) for each in weights],
            worse=worse,
        ),
        windows=windows,
    ),
    st.floats(0.001, 0.5),
    st.floats(1, 4),
    st.sampled_from([[0.1], [0.1, 0.5], [0.05, 0.2, 0.6]]),
    st.sampled_from(["roll-back", "freeze"]),
    st.sampled_from([None, SUNDAYS]),
)


@st.composite
def journeys(draw: st.DrawFn) -> tuple[DeployPolicy, list[CanaryLook]]:
    """A canary's looks as its deployer has them: reports of replicas and of their next lives.

    They come late and again; a step begins where the judge says so.
    """
    policy = draw(policies)
    counters: dict[CounterKey, CallCounter] = {
        CounterKey("r1", "e0", 1, CHAMPION): _counter([300, 150, 40, 9, 1], 4, 0, None)
    }
    revisions, step, looks = [2], 0, []
    for moment in range(draw(st.integers(1, 12))):
        for report in draw(st.lists(reports, max_size=4)):
            replica, epoch, version, *counts = report
            key = CounterKey(replica, epoch, revisions[-1], version)
            counters[key] = merge_reports(counters.get(key), _counter(*counts))
        evidence = CanaryEvidence(
            steps=[count_step(counters, each, CANARY, CHAMPION) for each in revisions],
            acknowledgement=draw(acknowledgements),
            deadline=draw(st.sampled_from([None, START + timedelta(seconds=9)])),
            now=START + timedelta(seconds=1.5 * moment),
            skips_windows=draw(st.booleans()),
        )
        looks.append(CanaryLook(step, False, evidence, decide_canary(policy, step, evidence)))
        if looks[-1].decision.action in ("begin-anew", "advance"):
            step += looks[-1].decision.action == "advance"
            revisions.append(revisions[-1] + 1)
        elif looks[-1].moves:
            break
    return policy, looks


def _counter(counts: list[int], errors: int, refused: int, tripped: str | None) -> CallCounter:
    """Where requests were refused, all callers are bound to an arm and call twice."""
    calls = sum(counts)
    bound = BoundCalls.of_one(counts, [count / 2 for count in counts]) if refused else BoundCalls()
    return CallCounter(calls, min(errors, calls), EDGES, tuple(counts), tripped, refused, bound)


@given(journeys())
@settings(deadline=None)
def test_evidence_is_read_as_it_was_written_and_decided_the_same(
    journey: tuple[DeployPolicy, list[CanaryLook]],
) -> None:
    policy, looks = journey
    for look in looks:
        written = write_evidence(look.evidence)
        again = replace(look, evidence=read_evidence(written))

        assert again.evidence == look.evidence
        assert write_evidence(again.evidence) == written
        assert judge_again(again, policy, policy) == look.decision


@given(journey=journeys())
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_what_a_database_keeps_is_decided_the_same(
    database: Database, journey: tuple[DeployPolicy, list[CanaryLook]]
) -> None:
    (policy, looks), deployment_id = journey, new_id()
    looks = [look for look in looks if not _has_no_text(look)]
    async with database.unit_of_work() as uow:
        kept = KeptLooks(uow.connection)
        added = [look for look in looks if await kept.add(deployment_id, look)]
    async with database.read() as connection:
        found = await KeptLooks(connection).page(deployment_id, 500, 0)

    assert [each.look for each in found] == added
    assert [judge_again(each.look, policy, policy) for each in found] == [
        look.decision for look in added
    ]


def _has_no_text(look: CanaryLook) -> bool:
    """Whether its sentence could be in no column of text."""
    return any(bad in look.decision.why for bad in ("\u0000", "\ud800"))


def waiting(seconds: float, calls: int, **changes: Any) -> CanaryLook:
    evidence = CanaryEvidence(
        steps=[], acknowledgement=SERVED, deadline=None, now=START + timedelta(seconds=seconds)
    )
    decision = CanaryDecision(changes.pop("action", "wait"), f"{calls} calls")
    return CanaryLook(0, changes.pop("paused", False), evidence, decision)


def kept_of(looks: list[CanaryLook]) -> list[KeptLook]:
    kept: dict[int, KeptLook] = {}
    for look in looks:
        last = list(kept.values())[-2:]
        if (number := number_of(look, last)) is not None:
            kept[number] = KeptLook(number, look)
    return list(kept.values())


def test_only_what_is_new_is_kept_and_at_most_once_a_second() -> None:
    looks = [waiting(0, 1), waiting(2, 1), waiting(4, 2), waiting(4.5, 3), waiting(5, 4)]

    assert [each.look for each in kept_of(looks)] == [looks[0], looks[2], looks[4]]


def test_what_moves_a_deployment_is_kept_whenever_it_comes() -> None:
    looks = [waiting(0, 1), waiting(0.1, 1, action="advance"), waiting(0.2, 1, action="promote")]

    assert [each.look for each in kept_of(looks)] == looks


def test_a_paused_canary_moves_only_by_its_faults() -> None:
    paused = waiting(0, 1, action="promote", paused=True)

    assert not paused.moves
    for action in ("roll-back", "freeze"):
        assert waiting(0, 1, action=action, paused=True).moves


@pytest.mark.parametrize(("days", "most"), [(0.01, 700), (1, 2_300), (400, MOST_LOOKS)])
def test_looks_of_days_are_few_and_the_newest_is_among_them(days: float, most: int) -> None:
    """Each look is a second after the one before, or as much later as makes a million of all."""
    seconds = days * 86_400
    every = max(1.0, seconds / 200_000)
    looks = [waiting(n * every, n) for n in range(int(seconds / every))]
    kept = kept_of(looks)

    assert LOOKS_AT_ONE_GAP < len(kept) <= most
    assert kept[-1].look == looks[-1]
    gaps = [
        later.look.evidence.now - earlier.look.evidence.now for earlier, later in pairwise(kept)
    ]
    assert min(gaps) >= timedelta(seconds=1)
    assert gaps[:200] == [timedelta(seconds=every)] * 200


def calls(number: int, errors: int = 0) -> CallCounter:
    return CallCounter(number, errors, (0.01, 0.1), (number, 0, 0))


def look_at(canary: CallCounter, step: int = 0, left: float = 60) -> CanaryLook:
    counts = count_step(
        {
            CounterKey("r", "e", 1, CHAMPION): calls(500),
            CounterKey("r", "e", 2, CHAMPION): calls(900, 9),
            CounterKey("r", "e", 2, CANARY): canary,
        },
        2, CANARY, CHAMPION,
    )  # fmt: skip
    evidence = CanaryEvidence(
        steps=[counts], acknowledgement=SERVED, deadline=START + timedelta(seconds=left), now=START
    )
    return CanaryLook(step, False, evidence, decide_canary(POLICY, step, evidence))


def test_another_policy_decides_by_its_own_limits() -> None:
    look = look_at(calls(60))
    strict = DeployPolicy(canary=CanaryPolicy(margin=0.01))

    assert look.decision.action == "advance"
    assert judge_again(look, strict, POLICY).action == "wait"


def test_the_time_of_another_policy_is_counted_from_the_same_beginning() -> None:
    look = look_at(calls(5), left=60)
    shorter = DeployPolicy(canary=CanaryPolicy(max_time=timedelta(minutes=9)))
    endless = DeployPolicy(canary=CanaryPolicy(max_time=timedelta.max))

    assert look.decision.action == "wait"
    assert judge_again(look, shorter, POLICY).action == "pause"
    assert judge_again(look, endless, POLICY).action == "wait"


def test_a_policy_with_fewer_steps_than_were_taken_is_refused() -> None:
    one = DeployPolicy(canary=CanaryPolicy(steps=[CanaryStep(weight=0.5)]))

    with pytest.raises(InvalidError, match=r"canary\.steps: 1 are fewer than the 2"):
        judge_again(look_at(calls(60), step=1), one, POLICY)
