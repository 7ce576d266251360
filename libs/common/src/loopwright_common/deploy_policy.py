"""Deploy and monitor policy, as written in `loopwright.yaml` and carried by `model-registered`.

The trainer checks them when it reads the file and the registry when a version brings them, the
deployer and the monitor act on them.
"""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from loopwright_common.names import shown

NO_APPROVAL, BY_ROLES = "no-approval", "by-roles"
"""Kinds of approval, which stand in the path of an error."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
_WHOLE_DAY = 24 * 60
_LONGEST_NAME = 60
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: object) -> timedelta:
    """`50ms`, `30s`, `10m`, `6h` or `1d` as a timedelta; ValueError otherwise."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhd])", str(value))
    if not match:
        raise ValueError(f"{value!r} is no duration; write it as 50ms, 30s, 10m, 6h or 1d")
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError:
        raise ValueError(f"{value} is longer than can be counted") from None


def write_duration(value: timedelta) -> str:
    """The duration in seconds, as `90s`."""
    return f"{value.total_seconds():g}s"


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(write_duration, when_used="json")
]


def _some_time(value: timedelta) -> timedelta:
    """ValueError for none."""
    if value <= timedelta(0):
        raise ValueError("has to be more than 0s")
    return value


SomeTime = Annotated[Duration, AfterValidator(_some_time)]


class Policy(BaseModel):
    """A part of what people write in `loopwright.yaml`; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ClassifierMetric = Literal["log_loss", "brier", "error_rate"]
RegressorMetric = Literal["r2", "squared_error", "absolute_error"]
Metric = Literal[ClassifierMetric, RegressorMetric]
IN_UNITS_OF_THE_TARGET = frozenset({"squared_error", "absolute_error"})
_DEFAULT_MARGIN = 0.01


def _margin_of_a_metric(margin: float | None, fields: ValidationInfo) -> float | None:
    """ValueError where it is not known of what the margin is, or where it excludes nothing."""
    if "metric" not in fields.data:
        return margin  # The metric is refused itself.
    metric = fields.data["metric"]
    if margin is None:
        if metric in IN_UNITS_OF_THE_TARGET:
            raise ValueError(
                f"is missing: {metric} is in the target's own unit, so say how much more of it is"
                " no harm, or use metric: r2"
            )
        return None
    if metric is None:
        raise ValueError(f"say of which metric {margin:g} is the margin, such as metric: log_loss")
    if margin >= 1 and metric not in {"log_loss", *IN_UNITS_OF_THE_TARGET}:
        raise ValueError(f"has to be less than 1 for {metric}; write 2 % as 0.02")
    return margin


class HoldoutPolicy(Policy):
    """By which loss a version is compared with the champion, and by how much it may be worse.

    A classifier has `log_loss`, `brier` and `error_rate`, a regressor `r2`, `squared_error` and
    `absolute_error`; a version for which the metric is none is rejected.
    """

    metric: Metric | None = None
    """The loss of a row. Unless set, by what the versions answer: `log_loss` of probabilities,
    `error_rate` of labels alone, `r2` of a regressor, which is the squared error as a share of the
    target's variance on the same rows."""
    margin: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, validate_default=True),
        AfterValidator(_margin_of_a_metric),
    ] = None
    """By how much the mean loss may exceed the champion's: 0.01 unless set. Of `squared_error` and
    `absolute_error`, which are in the target's unit, it has to be set; others need their metric
    beside it."""

    slices: list[Annotated[str, Field(min_length=1)]] = Field([], max_length=5)
    """Columns of the holdout dataset by whose values the versions are compared too: each category,
    or each quarter of a column of numbers, that has 200 rows. A version that is known to be worse
    by more than the margin in one of them is rejected."""

    @field_validator("slices")
    @classmethod
    def _named_once(cls, slices: list[str]) -> list[str]:
        """ValueError for a column that is named twice."""
        if twice := sorted({name for name in slices if slices.count(name) > 1}):
            raise ValueError(f"has {', '.join(twice)} twice: name each column once")
        return slices

    @property
    def allowed(self) -> float:
        """The margin, in the unit of the metric."""
        return _DEFAULT_MARGIN if self.margin is None else self.margin


def _latency_limit(text: str) -> str:
    """ValueError unless it is a limit, above 0."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(x champion|ms|s)", text)
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no limit above 0; write it as 1.2x champion or 50ms")
    return text


class LatencyPolicy(Policy):
    """How long a call of one row may take: `1.2x champion`, or a time such as `50ms`.

    Staging calls the version and the champion in turns with the same row. Its median and its p95
    have to be known to stay below the multiple of the champion's plus `slack`. Where the limit is a
    time, the version's own p95 has to, on the deployer's machine as busy as it is then; the
    champion is not called. A first version whose limit is a multiple is timed and has nothing to
    be compared with (`skipped`).

    In the canary a call is slow above the multiple of the champion's p95 plus `slack`; where the
    limit is a time, above twice that p95 plus `slack`.
    """

    at_most: Annotated[str, AfterValidator(_latency_limit)] = "2x champion"
    """How slow the version may be: so many times the champion's calls, or a time."""
    slack: Duration = timedelta(milliseconds=10)
    """What comes on top of the multiple, since nobody notices it: twice a champion's 1 ms is less
    than a busy machine adds."""
    max_time: SomeTime = timedelta(minutes=1)
    """How long staging goes on calling while it is not clear; at most half of its own time."""

    @property
    def relative(self) -> bool:
        """Whether the limit is a multiple of the champion's latency; else it is a time."""
        return self.at_most.endswith("x champion")

    @property
    def limit(self) -> float:
        """The multiple, or the time in seconds."""
        if self.relative:
            return float(self.at_most.removesuffix("x champion"))
        return parse_duration(self.at_most).total_seconds()

    @property
    def in_words(self) -> str:
        """The limit, as `2x champion plus 10 ms`."""
        if not self.relative or not self.slack:
            return self.at_most
        return f"{self.at_most} plus {self.slack / timedelta(milliseconds=1):g} ms"

    @property
    def multiple(self) -> float:
        """How many times the champion's latency is slow; a time says nothing about that: twice."""
        return self.limit if self.relative else 2.0


def _webhook_name(text: str) -> str:
    """ValueError for what would not do in a name of a check."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text) or len(text) > _LONGEST_NAME:
        raise ValueError(
            f"{shown(text)} is no name of a webhook; write small letters, digits and hyphens, at"
            f" most {_LONGEST_NAME}"
        )
    return text


def _webhook_url(text: str) -> str:
    """ValueError unless it names a host over HTTP, and no secret."""
    try:
        parts = urlsplit(text)
        names_port = parts.port != 0
    except ValueError:
        raise _no_url(text) from None
    host = parts.hostname or ""
    names_host = re.fullmatch(
        r"[\w-]{1,63}(\.[\w-]{1,63})*\.?|[\da-f.]*:[\da-f:.]+", host, re.ASCII
    )
    if parts.scheme not in {"https", "http"} or not (names_host and names_port):
        raise _no_url(text)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise _no_url(text)
    if parts.username is not None:
        raise ValueError("has to be a URL without a user and password: a policy can be read by all")
    return text


def _no_url(text: str) -> ValueError:
    return ValueError(f"{shown(text)} is no URL; write it as https://checks.example.com/versions")


def _some_webhook_time(value: timedelta) -> timedelta:
    """ValueError for more than a minute: people, who take longer, have `approval`."""
    if value > timedelta(minutes=1):
        raise ValueError("has to be at most 1m; for people to decide, use deploy.approval")
    return value


class WebhookPolicy(Policy):
    """A system of one's own that is asked, once all checks are done, whether a version may go on.

    It is sent a `POST` with what is known of the version and its checks as JSON, and answers
    `{"verdict": "passed"}`, `failed` or `inconclusive`, with a `sentence` that says why.
    """

    name: Annotated[str, AfterValidator(_webhook_name)]
    """What it is called among the checks, after `webhook-`."""
    url: Annotated[str, Field(max_length=2000), AfterValidator(_webhook_url)]
    """Where it is asked. It has to be at a public address, or at one that the deployer's operator
    lists; redirects are not followed and no credentials are sent."""
    within: Annotated[SomeTime, AfterValidator(_some_webhook_time)] = timedelta(seconds=10)
    """How long an answer is waited for, `1m` at most. A system that is away, or answers 429, 502,
    503 or 504, is asked again until then; without an answer a person decides."""


def _different_names(webhooks: list[WebhookPolicy]) -> list[WebhookPolicy]:
    """ValueError where two of them would have one verdict."""
    names = [webhook.name for webhook in webhooks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two of them are called {shown(twice)}")
    return webhooks


class StagingPolicy(Policy):
    """What a version has to show before it meets any traffic."""

    holdout: HoldoutPolicy = HoldoutPolicy()
    latency: LatencyPolicy = LatencyPolicy()
    webhooks: Annotated[
        list[WebhookPolicy], Field(max_length=10), AfterValidator(_different_names)
    ] = []
    """Systems of one's own that have a say, all asked at once after the checks. None where a check
    has failed."""


class CanaryStep(Policy):
    """Traffic share of the new version, and the requests it must answer in the step, at least.

    How many it takes in all follows from the evidence; more can be asked for.
    """

    weight: float = Field(gt=0, lt=1)
    """The version's share of the traffic; each step has more than the one before."""
    min_requests: int = Field(default=1, ge=1, le=1_000_000)
    """Requests that the version answers in the step at least, whatever the evidence."""


def _growing(value: object, read: ValidatorFunctionWrapHandler) -> list[CanaryStep]:
    """The steps; ValidationError unless each has more of the traffic than the one before.

    That is told beside whatever else is wrong with them.
    """
    faults: list[Any] = []
    steps: list[CanaryStep] = []
    try:
        steps = read(value)
    except ValidationError as error:
        faults += error.errors(include_url=False)
    weights = [step.weight for step in steps] or _weights_given(value)
    if weights != sorted(set(weights)):
        fault = PydanticCustomError("weights", "the weights of the steps have to grow")
        faults.append({"type": fault, "loc": (), "input": value})
    if faults:
        raise ValidationError.from_exception_data("steps", faults)
    return steps


def _weights_given(value: object) -> list[float]:
    """Those weights that are right by themselves, of steps that cannot be read."""
    steps = value if isinstance(value, list) else []
    given = [step.get("weight") for step in steps if isinstance(step, dict)]
    return [weight for weight in given if isinstance(weight, int | float) and 0 < weight < 1]


class CanaryPolicy(Policy):
    """The steps by which traffic moves to a new version, and the time that all take at most.

    Without enough evidence by then a person decides. Until that the champion serves everything
    again where `then` is `withdraw`, and the canary keeps its share where it is `stay`. One that is
    known to be `worse` gets no traffic any more; where that is `freeze`, a person decides as well.
    """

    steps: Annotated[list[CanaryStep], Field(min_length=1), WrapValidator(_growing)] = [
        CanaryStep(weight=0.1),
        CanaryStep(weight=0.5),
    ]
    """How the traffic moves; a step ends when the evidence is enough for its part."""
    max_time: SomeTime = timedelta(minutes=10)
    """How long all steps take at most; without enough evidence by then a person decides."""
    then: Literal["withdraw", "stay"] = "withdraw"
    """What becomes of the share until a person has decided: back to the champion, or it stays."""
    worse: Literal["roll-back", "freeze"] = "roll-back"
    """What becomes of a version that is known to be worse: it ends, or it is paused without traffic
    and stays loaded, to be looked at. What does harm is rolled back."""
    error_ratio: float = Field(default=1.5, ge=1, allow_inf_nan=False)
    """How many times the champion's error share the canary may have."""
    margin: float = Field(default=0.1, gt=0, lt=1)
    """What is no harm beside that, as a share of the calls: with 0.1 and a champion that fails on
    2 % of them, a version that fails on up to 12 % may be promoted. Less takes more calls. Staging
    judges recorded calls by it too."""


class ApprovalPolicy(Policy):
    """Who may approve a promotion, how long they are waited for, and what happens `then`."""

    roles: Annotated[list[str], Field(min_length=1)] = ["approver"]
    """Who is asked; whether a person has the role is not checked yet."""
    within: SomeTime = timedelta(hours=24)
    """How long they are waited for."""
    then: Literal["pause", "reject"] = "pause"
    """What happens when nobody has approved by then."""


_LONGEST_WAIT_FOR_LABELS = timedelta(days=35)


def _window_for_labels(window: timedelta) -> timedelta:
    """ValueError where it is longer than predictions are kept for their labels."""
    if window > _LONGEST_WAIT_FOR_LABELS:
        raise ValueError("is longer than labels are waited for; write 35d or less")
    return window


class LabelsPolicy(Policy):
    """When labels that come after a promotion take it back.

    The labelled calls of the canary say how often the version and the champion before were wrong.
    Once the version is known to be wrong on more of them than `margin` allows, the champion before
    serves again. Calls of callers who are bound to an arm are not independent, so a `routing_key`
    excludes it.
    """

    window: Annotated[SomeTime, AfterValidator(_window_for_labels)] = timedelta(days=7)
    """How long after the promotion labels are waited for."""
    margin: float = Field(default=0.02, gt=0, le=0.5)
    """What is no harm, as a share of the calls: with 0.02 a version may be wrong on two calls in a
    hundred more than the champion before."""


def parse_clock(value: object) -> object:
    """`18:00` as minutes of the day, `24:00` being its end; ValueError otherwise."""
    match = re.fullmatch(r"(\d\d):(\d\d)", str(value), re.ASCII)
    minutes = 60 * int(match[1]) + int(match[2]) if match else _WHOLE_DAY + 1
    if match and int(match[2]) < 60 and minutes <= _WHOLE_DAY:
        return minutes
    if isinstance(value, int) and 60 <= value < _WHOLE_DAY:
        written = write_clock(value)
        hint = f"; YAML reads {written} without quotes as that"
    else:
        written, hint = "18:00", ""
    raise ValueError(f'{value!r} is no time of day; write it in quotes, as "{written}"{hint}')


def write_clock(minutes: int) -> str:
    """Minutes of the day as `18:00`."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


ClockTime = Annotated[
    int, BeforeValidator(parse_clock), PlainSerializer(write_clock, when_used="json")
]


class ClosedWindow(Policy):
    """Hours of some days in which nothing is promoted; an early `end` is that of the next day."""

    days: Annotated[list[Day], Field(min_length=1)]
    """Days on which it begins: `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`."""
    begin: ClockTime = 0
    """When it begins, by the clock of `zone`, in quotes: `"18:00"`; `"00:00"` unless given."""
    end: ClockTime = _WHOLE_DAY
    """When it ends, `"24:00"` unless given; one before `begin` is on the next day."""

    def has(self, day: int, minute: int) -> bool:
        """Whether a minute of a day, counted from Monday as 0, lies in it."""
        begins = DAYS[day] in self.days
        if self.begin < self.end:
            return begins and self.begin <= minute < self.end
        began = DAYS[day - 1] in self.days
        return (begins and minute >= self.begin) or (began and minute < self.end)

    @model_validator(mode="after")
    def _takes_some_time(self) -> Self:
        if self.begin == self.end:
            raise ValueError("begins when it ends; leave both out for whole days")
        return self


class WindowsPolicy(Policy):
    """Times in which no version is promoted nor given more traffic; what is ready waits.

    A version that has a share of the traffic keeps it and is judged; what does harm is rolled back
    at once, whatever the time.
    """

    zone: str
    """The time zone by whose clock the windows are, as IANA names it: `Europe/Berlin`."""
    closed: Annotated[list[ClosedWindow], Field(min_length=1, max_length=50)]
    """The closed times; all others are open."""

    def is_closed(self, at: datetime) -> bool:
        """Whether an instant lies in one of the closed times."""
        local = at.astimezone(ZoneInfo(self.zone))
        return self._closes(local.weekday(), 60 * local.hour + local.minute)

    def _closes(self, day: int, minute: int) -> bool:
        return any(window.has(day, minute) for window in self.closed)

    @field_validator("zone")
    @classmethod
    def _zone_is_known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            sentence = (
                f"{shown(zone)} is no time zone that is known here; write it as Europe/Berlin"
            )
            raise ValueError(sentence) from None
        return zone

    @model_validator(mode="after")
    def _opens(self) -> Self:
        """It opens at the end of some window, if ever."""
        ends = {window.end % _WHOLE_DAY for window in self.closed}
        if all(self._closes(day, end) for day in range(len(DAYS)) for end in ends):
            raise ValueError("no time of the week is left open: nothing would ever be promoted")
        return self


class RecordPolicy(Policy):
    """What of the scored rows is kept: a share of the calls, without the inputs named.

    A redacted input never leaves the scorer, so it is neither watched for drift nor in captured
    data: a retraining that learns from captured rows has to do without it. Labels of calls that
    were left out are accepted and never find their rows.
    """

    sample: float = Field(default=1.0, ge=0, le=1)
    """The share of the calls whose rows are kept."""
    redact: list[Annotated[str, Field(min_length=1)]] = []
    """Inputs that never leave the scorer."""


def _kind_of_approval(value: object) -> str:
    return NO_APPROVAL if isinstance(value, str) else BY_ROLES


class DeployPolicy(Policy):
    """How the versions of a model come to its traffic: `deploy:` in `loopwright.yaml`."""

    staging: StagingPolicy = StagingPolicy()
    canary: CanaryPolicy = CanaryPolicy()
    approval: Annotated[
        Annotated[Literal["none"], Tag(NO_APPROVAL)] | Annotated[ApprovalPolicy, Tag(BY_ROLES)],
        Discriminator(_kind_of_approval),
    ] = "none"
    """`none`, or who has to approve before the canary."""
    windows: WindowsPolicy | None = None
    """Times in which nothing is promoted nor given more traffic."""
    labels: LabelsPolicy | None = None
    """When labels that come after a promotion take it back; unset, never."""
    keep: int = Field(default=2, ge=1, le=20)
    """Former champions kept loaded, for undo and for calls that name their version."""
    routing_key: str | None = None
    """Input whose value keeps a caller on one arm, where no routing-key header comes."""
    record: RecordPolicy = RecordPolicy()

    @model_validator(mode="after")
    def _labels_judge_independent_calls(self) -> Self:
        if self.labels is not None and self.routing_key is not None:
            raise ValueError(
                "labels take no promotion back where routing_key binds callers to a version, since"
                " their calls are not independent; leave out labels or routing_key"
            )
        if self.labels is not None and self.record.sample == 0:
            raise ValueError(
                "labels find no rows where record.sample is 0; record a share of the calls or"
                " leave out labels"
            )
        return self


class RowsOrTime(Policy):
    """How many scored rows and how much time have to pass; both are waited for."""

    rows: int = Field(default=0, ge=0)
    """Scored rows."""
    time: Duration = timedelta(0)
    """Time, in event time."""


class FalseAlarms(Policy):
    """At most one false alarm in so many scored rows, on average."""

    rows: int = Field(default=1_000_000, ge=1000)
    """Scored rows between two false alarms, on average."""


class DriftTrigger(Policy):
    """When drift may start a retraining."""

    min_new_labels: int = Field(default=1000, ge=1)
    """Labelled rows since the drift began, without which a retraining would learn nothing new."""
    cooldown: RowsOrTime = RowsOrTime()
    per_day: int = Field(default=4, ge=0)
    """Retrainings because of drift in a day, at most."""


class DetectionPolicy(Policy):
    """What a person sets under `monitor:`: the smallest change that matters, and how rare false
    alarms are."""

    false_alarm_every: FalseAlarms = FalseAlarms()
    smallest_change: float = Field(default=0.05, gt=0, lt=0.5)
    """The smallest change of a share of an input's values that matters."""
    block_rows: int = Field(default=256, ge=16, le=4096)
    """Rows that are looked at together."""
    concept: Literal["adwin", "none"] = "adwin"
    """What watches the champion's losses, once labels come."""


class MonitorPolicy(DetectionPolicy):
    """What a person sets: the smallest change that matters, and how rare false alarms are."""

    drift: DriftTrigger | None = None
    """`triggers.drift` of the pipeline; without it drift is told and nothing is retrained."""
