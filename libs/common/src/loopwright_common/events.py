"""The published language: every event, its topic and what it says.

The whole conversation between the services is in this file. Events are CloudEvents 1.0 of type
`dev.loopwright.<topic>.v1`; classes are closed when produced and tolerant when read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from loopwright_common.clock import to_text
from loopwright_common.deploy_policy import RecordPolicy
from loopwright_common.errors import UndecodableError

Timestamp = Annotated[datetime, PlainSerializer(to_text, when_used="json")]
Verdict = Literal["passed", "failed", "inconclusive", "skipped"]
TYPE_PREFIX = "dev.loopwright."


@dataclass(frozen=True, slots=True)
class Topic:
    """How a topic is kept on every bus; `largest_record` in bytes."""

    name: str
    partitions: int = 3
    retention: timedelta = timedelta(days=30)
    compacted: bool = False
    archived: bool = True
    largest_record: int = 1 << 20


WEEK = timedelta(days=7)
INFERENCE_LOGGED = "inference-logged"
TOPICS: dict[str, Topic] = {
    INFERENCE_LOGGED: Topic(INFERENCE_LOGGED, partitions=8, retention=WEEK, archived=False)
}
"""Every event's topic by its name; the class of a JSON event adds its own."""
EVENTS: "dict[str, type[EventData]]" = {}
"""The class of every JSON event by its topic, in the order of this file."""


class Payload(Protocol):
    """What an event says; `EventData` as JSON, `InferenceLogged` as Arrow."""

    topic: ClassVar[str]
    content_type: ClassVar[str]

    def to_bytes(self) -> bytes: ...

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Raise `UndecodableError` when the bytes are not such a payload."""
        ...


class EventPart(BaseModel):
    """A part of what an event says."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EventData(BaseModel):
    """JSON payload of one event type, version 1.

    A class that names its `topic` is published by that alone: its topic is declared (as
    `topic_settings` says, if it does), its schema generated, its records decoded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    topic: ClassVar[str]
    topic_settings: ClassVar[Topic | None] = None
    content_type: ClassVar[str] = "application/json"

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        """TypeError when another class has the topic."""
        topic = cls.__dict__.get("topic")
        if topic is None:
            return
        if topic in TOPICS:
            raise TypeError(f"{cls.__name__}: the topic {topic!r} belongs to another event")
        EVENTS[topic] = cls
        TOPICS[topic] = cls.topic_settings or Topic(topic)

    def to_bytes(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """The payload in JSON, without fields that are unknown.

        UndecodableError names the first field that is wrong.
        """
        try:
            return cls.model_validate_json(body, extra="ignore")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(str(part) for part in first["loc"]) or "the body"
            raise UndecodableError(f"{cls.topic}: {path}: {first['msg']}") from None


class Received(Protocol):
    """Bytes as they came from the bus."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def value(self) -> bytes: ...


D_co = TypeVar("D_co", bound=Payload, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[D_co]):
    """A decoded fact with its CloudEvents attributes.

    `received` is what it was decoded from: it may say more than this version of the code reads.
    """

    id: str
    source: str
    subject: str
    time: datetime
    key: str
    chain_id: str
    causes: tuple[str, ...]
    traceparent: str
    data: D_co
    received: Received | None = field(default=None, compare=False, repr=False)


# ---- code to version -------------------------------------------------------------------------


class CodeChanged(EventData):
    """A watched repository has a new commit."""

    topic = "code-changed"
    repository: str
    ref: str
    commit: str
    before: str | None = None
    paths: list[str] = []
    author: str | None = None
    message: str | None = None
    source: Literal["webhook", "poll", "command"] = "command"


class StageOutcome(EventPart):
    """What one stage of a run did, and why it ran or was reused."""

    name: str
    outcome: Literal["reused", "ran", "failed", "skipped"]
    why: str
    seconds: float
    metrics: dict[str, float] = {}


class TrainingFinished(EventData):
    """A pipeline's run ended, well or not."""

    topic = "training-finished"
    pipeline: str
    run_id: str
    commit: str
    reason: Literal["code", "drift", "schedule", "person", "labels"]
    status: Literal["succeeded", "failed", "cancelled", "unchanged"]
    why: str
    stages: list[StageOutcome] = []
    model: str | None = None
    version: int | None = None
    tracking_run_id: str | None = None
    seconds: float


class Dataset(BaseModel):
    """A dataset of a version: a Parquet file in the artifact store.

    `from` and `until` bound the time of its rows; where rows carry no time, `until` is the moment
    the dataset was taken, since no row can be later.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True
    )
    role: Literal["training", "holdout", "captured"]
    digest: str
    location: str
    rows: int
    target: str | None = None
    from_: Timestamp | None = Field(default=None, alias="from")
    until: Timestamp | None = None


class ModelRegistered(EventData):
    """A version is sealed: its files are in the store under one digest, for good."""

    topic = "model-registered"
    model_id: str
    model: str
    version: int
    digest: str
    location: str
    format: str
    signature: dict[str, Any] | None = None
    pipeline: str | None = None
    run_id: str | None = None
    commit: str | None = None
    metrics: dict[str, float] = {}
    datasets: list[Dataset] = []
    deploy: dict[str, Any] | None = None
    monitor: dict[str, Any] | None = None


class AliasChanged(EventData):
    """An alias moved to a version (`version` absent: it was deleted)."""

    topic = "alias-changed"
    model_id: str
    model: str
    alias: str
    version: int | None = None
    previous: int | None = None
    by: str


class PromotionRequested(EventData):
    """Somebody set the alias `champion`: a request to the deployer, which the alias follows."""

    topic = "promotion-requested"
    model_id: str
    model: str
    version: int
    by: str


class VersionDeleted(EventData):
    """The registry holds a version no longer, and no alias names it."""

    topic = "version-deleted"
    model_id: str
    model: str
    version: int
    by: str


# ---- version to traffic ----------------------------------------------------------------------


class CountedCalls(EventPart):
    """Calls of one arm, those that the check is about, such as failed ones, and their share."""

    calls: int
    hits: int
    share: float


class ArmComparison(EventPart):
    """What a canary's check has counted on both arms, and what is known by that.

    The canary's share less the champion's is within `low` and `high` with the probability
    `confidence`, at all times of looking together; without these the steps contradict each other.
    `worse` and `harmless` are e-values, from whose limits on the check speaks.
    """

    canary: CountedCalls
    champion: CountedCalls
    low: float | None = None
    high: float | None = None
    confidence: float
    worse: float
    worse_limit: float
    harmless: float
    harmless_limit: float


def _finite(figure: float | None) -> float | None:
    """What no figure measures, JSON has no number for."""
    return figure if figure is not None and isfinite(figure) else None


Figure = Annotated[float | None, AfterValidator(_finite)]


class Check(EventPart):
    """A named test: its verdict, its figure and limit in `unit`, and a sentence for people.

    A canary's has the `comparison` that it follows from.
    """

    name: str
    verdict: Verdict
    measured: Figure = None
    limit: Figure = None
    unit: str | None = None
    sentence: str
    comparison: ArmComparison | None = None


class DeploymentEvent(EventData):
    """What every event about a deployment names."""

    deployment_id: str
    environment: str
    model_id: str
    model: str
    version: int


class DeploymentValidated(DeploymentEvent):
    """Staging has judged a version."""

    topic = "deployment-validated"
    passed: bool
    checks: list[Check]
    report: str | None = None


class ApprovalRequested(DeploymentEvent):
    """A deployment waits until somebody with one of `roles` approves it, or until `until`."""

    topic = "approval-requested"
    roles: list[str]
    until: Timestamp | None = None
    checks: list[Check] = []


class DeploymentChanged(DeploymentEvent):
    """A deployment came into another state, or another step of its canary.

    `by` is the person who decided, where one did; `weight` the version's share of the traffic;
    `decisions` what a person may do now where one is waited for, `skip` where the platform permits
    it (`LOOPWRIGHT_DEPLOYER_SKIPPABLE_GATES`). At `until`, where there is one, happens what `then`
    says.
    """

    topic = "deployment-changed"
    attempt: int
    state: str
    why: str
    by: str | None = None
    weight: float = Field(ge=0, le=1)
    decisions: list[str] = []
    until: Timestamp | None = None
    then: str | None = None


class PromotionRefused(EventData):
    """What was requested of a version does not happen; `why` says so, and what to do instead."""

    topic = "promotion-refused"
    environment: str
    model_id: str
    model: str
    version: int
    by: str
    why: str


class CanaryPeriod(EventPart):
    """A step of a canary: from `begin` until before `end` both versions had their share."""

    begin: Timestamp
    end: Timestamp


class DeploymentPromoted(DeploymentEvent):
    """A version is champion, and every live replica has acknowledged it.

    Where its policy has `labels`, those that come until `labels_until` for the calls of the
    `canary` may take the promotion back.
    """

    topic = "deployment-promoted"
    previous: int | None = None
    checks: list[Check] = []
    why: str
    canary: list[CanaryPeriod] = []
    labels_until: Timestamp | None = None


class DeploymentRolledBack(DeploymentEvent):
    """A canary was taken out of traffic, or a promotion undone; `previous` serves again."""

    topic = "deployment-rolled-back"
    previous: int | None = None
    checks: list[Check] = []
    why: str


class LabelledCalls(EventPart):
    """Calls with a label, and how many were wrong; of a call of several rows, the share that was.

    So `wrong` need not be a whole number.
    """

    calls: int = Field(ge=0)
    wrong: float = Field(ge=0)


class LabelledStep(EventPart):
    """The labelled calls of both versions in one step of a canary."""

    canary: LabelledCalls
    champion: LabelledCalls


class CanaryLabelled(DeploymentEvent):
    """What the labels that came until now say of the calls of a canary that was promoted.

    `previous` is the champion of that time. The counts are cumulative. A row is wrong where its
    label is another than predicted; of a regressor, where the absolute error is above
    `wrong_above`, which nine in ten rows of the champion's before the canary were not.
    """

    topic = "canary-labelled"
    previous: int
    steps: list[LabelledStep]
    wrong_above: float | None = None


class DeploymentFinished(DeploymentEvent):
    """A deployment came to its end; `why` is a sentence for people."""

    topic = "deployment-finished"
    outcome: Literal["promoted", "rejected", "rolled-back", "superseded", "aborted"]
    why: str
    pipeline: str | None = None


class Arm(EventPart):
    """One version in a route; live weights of a route add up to 1."""

    version: int
    weight: float = Field(ge=0, le=1)
    role: Literal["live", "shadow"] = "live"
    digest: str
    format: str


class RoutesChanged(EventData):
    """What the scorers serve for a model from this revision on (compacted).

    `aliases` are the registry's, of versions among the arms and those kept; `champion` and
    `challenger` need no word. Without `record` every row is recorded whole.
    """

    topic = "routes-changed"
    topic_settings = Topic("routes-changed", compacted=True)
    environment: str
    model_id: str
    model: str
    revision: int
    arms: list[Arm]
    kept: list[Arm] = []
    routing_key: str | None = None
    aliases: dict[str, int] = {}
    record: RecordPolicy | None = None


class ServedRoute(EventPart):
    """Which revision a replica serves of a model, or why not, by version.

    `problems` are faults of the version, `waiting` those that pass, such as a store that is away.
    """

    model_id: str
    revision: int
    problems: dict[str, str] = {}
    waiting: dict[str, str] = {}
    tripped: dict[str, str] = {}


class ReplicaReported(EventData):
    """A scorer replica's heartbeat, every 5 s and at once on a change (compacted)."""

    topic = "replica-reported"
    topic_settings = Topic("replica-reported", compacted=True, archived=False)
    replica: str
    epoch: str
    environment: str
    at: Timestamp
    routes: list[ServedRoute]


class ServingMeasured(EventData):
    """Cumulative counters of one (replica, epoch, revision, version); merge by maximum.

    Beside another live arm `errors` and `refused` are what that answers; `refused` are no `calls`.
    `latency_edges` are upper bounds in seconds; `latency_counts` has one more entry, the overflow.
    `score_counts` has ten equal bins over [0, 1] of the monitored score. `caller_counts` are those
    of `latency_counts` whose callers are bound to one of several live arms by a routing key,
    `caller_shares` the same where all calls of a caller count as one; both are empty without any.
    """

    topic = "serving-measured"
    topic_settings = Topic("serving-measured", retention=WEEK, archived=False)
    environment: str
    model_id: str
    model: str
    replica: str
    epoch: str
    revision: int
    version: int
    role: Literal["live", "shadow"]
    calls: int
    rows: int
    errors: int
    refused: int = 0
    latency_edges: list[float]
    latency_counts: list[int]
    score_counts: list[int] = []
    tripped: str | None = None
    caller_counts: list[int] = []
    caller_shares: list[float] = []


# ---- traffic to retraining -------------------------------------------------------------------


class GroundTruthLogged(EventData):
    """Labels that arrived for earlier predictions; `ids` are prediction or request ids."""

    topic = "ground-truth-logged"
    topic_settings = Topic("ground-truth-logged", partitions=8, retention=WEEK)
    model_id: str
    model: str
    ids: list[str]
    id_kind: Literal["prediction", "request"] = "prediction"
    labels: list[str | float | int | bool | None]
    at: Timestamp


class CapturedFile(EventPart):
    """A Parquet file of captured rows in the artifact store."""

    digest: str
    rows: int


class RowsCaptured(EventData):
    """Where the newest captured rows of a model are (compacted).

    `captured` counts all that were, until the time `until`; `files` are the newest, newest first,
    and hold 1,000 rows at least where so many lie in 256 files.
    """

    topic = "rows-captured"
    topic_settings = Topic("rows-captured", compacted=True, archived=False)
    model_id: str
    model: str
    captured: int
    until: Timestamp
    files: list[CapturedFile]


class PerformanceMeasured(EventData):
    """Cumulative realised performance of one version over the labels that came."""

    topic = "performance-measured"
    model_id: str
    model: str
    version: int
    labelled: int
    log_loss: float | None = None
    brier: float | None = None
    mean_label: float | None = None
    mean_score: float | None = None
    loss_sum: float = 0.0


class DriftingFeature(EventPart):
    """A feature ranked by evidence (natural log of its e-value)."""

    name: str
    evidence: float
    change: float
    before: float | None = None
    after: float | None = None
    sentence: str | None = None


class Since(EventPart):
    """Where in the rows that a detector has seen a drift began, and when that row was scored."""

    row: int
    time: Timestamp | None = None


DriftKind = Literal["data", "prediction", "concept", "quality"]
"""What drifted: the inputs, the scores, how they relate to the labels, or the data's quality."""


class DriftDetected(EventData):
    """The inputs, predictions or losses of the champion left its reference."""

    topic = "drift-detected"
    model_id: str
    model: str
    version: int
    episode: str
    kind: DriftKind
    features: list[DriftingFeature]
    since: Since
    rows_seen: int
    false_alarm_every_rows: int
    guarantee: str
    captured: str | None = None


class RetrainRequested(EventData):
    """Somebody asks for a run of a pipeline; `captured` pins the rows it may learn from."""

    topic = "retrain-requested"
    pipeline: str
    reason: Literal["drift", "schedule", "person", "labels"]
    model: str | None = None
    version: int | None = None
    captured: str | None = None
    requested_by: str
    why: str | None = None
    causes: list[str] = []


def type_of(topic: str) -> str:
    """The CloudEvents type of a topic's current version."""
    return f"{TYPE_PREFIX}{topic}.v1"


def topic_of(event_type: str) -> str:
    """The topic that a CloudEvents type belongs to, such as `model-registered`; of any version."""
    return event_type.removeprefix(TYPE_PREFIX).rsplit(".v", maxsplit=1)[0]
