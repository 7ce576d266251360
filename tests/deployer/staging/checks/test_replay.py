"""What is told of recorded calls that two versions were asked, and how they are asked."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from loopwright_common.deploy_policy import StagingPolicy
from loopwright_common.events import Check
from loopwright_common.serving.spec import Column, ServingSpec
from loopwright_deployer.staging.checks.base import RecordedTraffic, StagedVersion, StagingContext
from loopwright_deployer.staging.checks.replay import ReplayCheck
from loopwright_deployer.staging.evaluation.recorded_calls import RecordedCall
from loopwright_deployer.staging.evaluation.scorer_client import (
    ScorerClient,
    ScorerMetadata,
    ScorerResponse,
    Values,
)
from tests.deployer.builders import MODEL, registered
from tests.deployer.staging.recorded import MARGIN, call, recorded

Answer = Callable[[Values], ScorerResponse]
AGE = [Column(name="age", type="double")]


class Answering(ScorerClient):
    """A scorer that answers as a function says."""

    def __init__(self, columns: Sequence[Column], answer: Answer) -> None:
        super().__init__("http://127.0.0.1:9", MODEL)
        kinds = {"double": "FP64", "long": "INT64", "string": "BYTES"}
        inputs = {each.name: (kinds[each.type], [-1]) for each in columns}
        self.metadata = ScorerMetadata(inputs, {}, None)
        self._answer = answer

    def infer(self, values: Values, datatypes: dict[str, str] | None = None) -> ScorerResponse:  # noqa: ARG002
        return self._answer(values)


def doubled(values: Values) -> ScorerResponse:
    return ScorerResponse(200, 0.001, {"prediction": [2.0 * each for each in values["age"]]})


def refusing(share: float, status: int = 400) -> Answer:
    """Refuses the ages below 100 times the share, in a text that quotes one."""

    def answer(values: Values) -> ScorerResponse:
        if low := [age for age in values["age"] if age < 100 * share]:
            return ScorerResponse(status, 0.001, error=f"age {low[0]} is too low")
        return ScorerResponse(200, 0.001, {"prediction": [2.5 * each for each in values["age"]]})

    return answer


def version(number: int, answer: Answer, columns: Sequence[Column] = AGE) -> StagedVersion:
    spec = ServingSpec(
        format="onnx", file="model.onnx", task="regressor", columns=list(columns),
        source_digest="sha256:x",
    )  # fmt: skip
    return StagedVersion(Answering(columns, answer), registered(number), spec)


def calls(count: int, **more: Any) -> list[RecordedCall]:
    """Ages 0 to 99 in a mixed order, over and over."""
    return [call(n, age=[37 * n % 100], **more) for n in range(count)]


async def checked(
    traffic: RecordedTraffic,
    candidate: StagedVersion | None = None,
    champion: StagedVersion | None = None,
    time_limit: float = 300,
) -> tuple[Check, dict[str, Any]]:
    """The verdict, and what the report says beside it."""

    async def read_nothing(*_: Any) -> Any:
        raise NotImplementedError

    staged = StagingContext(
        policy=StagingPolicy(),
        candidate=candidate or version(2, doubled),
        champion=champion or version(1, doubled),
        read_holdout=read_nothing,
        recorded=traffic,
        time_limit=time_limit,
    )
    return await ReplayCheck().run(staged), staged.details.get("replay", {})


@pytest.mark.parametrize(
    ("share", "count", "verdict"),
    [
        (0.0, 200, "passed"),
        (0.0, 20, "inconclusive"),
        (0.05, 200, "inconclusive"),
        (0.15, 200, "inconclusive"),
        (0.2, 200, "failed"),
        (0.2, 20, "inconclusive"),
        (1.0, 12, "failed"),
        (1.0, 2, "inconclusive"),
    ],
)
async def test_a_version_fails_and_passes_only_where_that_is_known(
    share: float, count: int, verdict: str
) -> None:
    check, _ = await checked(recorded(calls(count)), version(2, refusing(share)))

    assert check.verdict == verdict, check.sentence
    assert (check.limit, check.unit) == (0.1, "of calls")


async def test_what_is_refused_is_told_with_bounds_and_the_first_fault() -> None:
    check, report = await checked(recorded(calls(200)), version(2, refusing(0.2)))

    assert check.sentence == (
        "refused 40 and failed at 0 that the champion answers, of 200 recorded calls:"
        " 20 % (13.3 % to 28.2 % with 99 % confidence), allowed 10 %; the first: answered 400:"
        " age 0 is too low (call call-0); predictions differ by 0.639 standard deviations of the"
        " champion's (median), 1.03 (p95) in 160 rows"
    )
    assert (report["calls"], report["refused"], len(report["not_answered"])) == (200, 40, 20)
    assert report["not_answered"][0] == {
        "call": "call-0", "at": "2026-01-01T00:00:00+00:00", "rows": 1, "inputs": {"age": 0},
        "candidate": "answered 400: age 0 is too low",
    }  # fmt: skip
    worst = report["answered_otherwise"]
    assert len(worst) == 20
    assert worst[0]["inputs"] == {"age": 99}
    assert (worst[0]["champion"], worst[0]["candidate"]) == (
        {"prediction": 198.0},
        {"prediction": 247.5},
    )


async def test_answers_that_differ_pass_however_far_they_are_apart() -> None:
    check, report = await checked(recorded(calls(200)), version(2, refusing(0.0)))

    assert check.verdict == "passed"
    assert report["agreement"]["p95"] > 0.5


async def test_a_fault_of_the_version_fails_like_a_refusal() -> None:
    check, report = await checked(recorded(calls(200)), version(2, refusing(0.2, status=500)))

    assert check.sentence.startswith(
        "refused 0 and failed at 40 that the champion answers, of 200 recorded"
    )
    assert (check.verdict, report["failed"]) == ("failed", 40)


async def test_what_neither_answers_is_no_fault_and_what_the_champion_fails_at_is_allowed() -> None:
    both, _ = await checked(
        recorded(calls(200)), version(2, refusing(0.2)), version(1, refusing(0.2))
    )
    half, report = await checked(recorded(calls(200)), champion=version(1, refusing(0.5)))

    assert (both.verdict, both.measured) == ("passed", 0.0)
    assert "40 answered by neither" in both.sentence
    assert (half.verdict, half.limit) == ("passed", 0.75)
    assert report["answered_by_the_candidate_only"] == 100
    assert "100 answered by the candidate alone" in half.sentence


async def test_calls_are_asked_together_and_by_themselves_where_one_is_refused() -> None:
    sizes: list[int] = []

    def answer(values: Values) -> ScorerResponse:
        sizes.append(len(values["age"]))
        return refusing(0.01)(values)

    large = call(100, age=list(range(50, 110)))
    check, report = await checked(recorded([*calls(40), *[large] * 4]), version(2, answer))

    # The first twenty hold the one that is refused; of 60 rows, three calls are 180 rows.
    assert sizes == [20, *[1] * 20, 20, 180, 60]
    assert check.sentence.startswith(
        "refused 1 and failed at 0 that the champion answers, of 44 recorded"
    )
    assert report["agreement"]["rows"] == 279


async def test_a_whole_number_is_sent_as_the_version_takes_it() -> None:
    sent: list[Any] = []

    def answer(values: Values) -> ScorerResponse:
        sent.extend(values["age"])
        return doubled(values)

    whole = version(2, answer, [Column(name="age", type="long")])
    await checked(recorded([call(1, age=[30.0]), call(2, age=[30.5])]), whole)

    assert [(each, type(each)) for each in sent] == [(30, int), (30.5, float)]


async def test_a_redacted_input_is_not_asked_for_and_an_error_does_not_quote_one() -> None:
    job = Column(name="job", type="string", required=False)
    lacking = recorded(calls(50, redacted=["job"]), redacted=["job"])
    check, report = await checked(lacking, version(2, doubled, [*AGE, job]))
    quoting, quoted = await checked(
        recorded(calls(200, job=["nurse"]), redacted=["age"]), version(2, refusing(0.2))
    )

    assert check.verdict == "skipped"
    assert check.sentence.startswith("none of 50 recorded calls could be asked; 50 not asked: ")
    assert "version 2 takes 'job', which is redacted and so not recorded" in check.sentence
    assert report["not_answered"] == []
    assert "too low" not in quoting.sentence + str(quoted)
    assert {tuple(each["inputs"]) for each in quoted["not_answered"]} == {("job",)}


async def test_what_callers_sent_is_shown_without_effect_and_cut() -> None:
    odd, long = "\x1b[2J\u202ecod", list(range(500))
    asked = [call(n, age=[n], job=[odd], walk=[long], tags=[[odd]]) for n in range(12)]
    check, report = await checked(recorded(asked), version(2, refusing(1.0)))

    inputs = report["not_answered"][0]["inputs"]
    assert inputs["job"] == "\\x1b[2J\\u202ecod"
    assert inputs["tags"] == ["\\x1b[2J\\u202ecod"]
    assert "..." in inputs["walk"]
    assert len(str(report)) < 20_000
    assert check.verdict == "failed"


async def test_a_new_input_that_nobody_could_send_is_no_refusal() -> None:
    columns = [*AGE, Column(name="income", type="double")]
    check, _ = await checked(recorded(calls(50)), version(2, doubled, columns))

    assert check.verdict == "skipped"
    assert "version 2 needs 'income', which was no input yet" in check.sentence


async def test_a_tensors_redacted_cells_are_the_tensor() -> None:
    assert call(1, redacted=["x_0", "x_1"]).lacks("x")
    assert not call(1, redacted=["x_axis", "xs"]).lacks("x")


async def test_without_recorded_calls_it_says_what_would_give_some() -> None:
    check, report = await checked(recorded())

    assert check.verdict == "skipped"
    assert "once the monitor has captured" in check.sentence
    assert "deploy.record.sample is above 0" in check.sentence
    assert report == {}


async def test_what_cannot_be_read_leaves_it_to_the_canary() -> None:
    nothing, _ = await checked(recorded(set_aside=["sha256:1: is damaged"]))
    some, report = await checked(recorded(calls(60), set_aside=["sha256:1: is damaged"]))

    assert nothing.verdict == "inconclusive"
    assert "sha256:1: is damaged; the canary's calls decide" in nothing.sentence
    assert some.verdict == "passed"
    assert some.sentence.endswith("1 set aside, as sha256:1: is damaged")
    assert report["set_aside"] == ["sha256:1: is damaged"]


async def test_a_champion_that_breaks_says_nothing_of_the_version() -> None:
    def broken(_values: Values) -> ScorerResponse:
        raise httpx.ReadError("gone")

    check, _ = await checked(recorded(calls(60)), champion=version(1, broken))

    assert check.verdict == "inconclusive"
    assert check.sentence == "the champion's staging scorer broke: ReadError: gone"


async def test_a_version_that_breaks_at_a_recorded_call_fails() -> None:
    def broken(_values: Values) -> ScorerResponse:
        raise httpx.ReadError("gone")

    with pytest.raises(httpx.ReadError):  # which whoever runs the checks makes a failed one
        await checked(recorded(calls(60)), version(2, broken))


async def test_time_that_is_over_leaves_the_rest_unasked() -> None:
    check, report = await checked(recorded(calls(60)), time_limit=0)

    assert check.verdict == "skipped"
    assert report["not_asked"] == {"the time was over": 60}


async def test_calls_that_are_not_read_in_time_leave_it_to_the_canary() -> None:
    async def read(_inputs: Any) -> Any:
        await asyncio.Event().wait()

    traffic = RecordedTraffic(read, MARGIN)
    check, _ = await checked(traffic, time_limit=0.08)

    assert check.verdict == "inconclusive"
    assert "as reading took longer than 0.01 s; the canary's calls decide" in check.sentence


async def test_few_calls_say_how_many_would_do() -> None:
    check, _ = await checked(recorded(calls(12)))

    assert "not clear: 51 calls without a fault would pass, else the canary's" in check.sentence


async def test_a_first_version_has_nobody_beside_it() -> None:
    context = StagingContext(
        policy=StagingPolicy(),
        candidate=version(1, doubled),
        champion=None,
        read_holdout=lambda *_: NotImplemented,
        recorded=recorded(calls(5)),
        time_limit=300,
    )
    check = await ReplayCheck().run(context)

    assert (check.verdict, check.sentence[:11]) == ("skipped", "no champion")
