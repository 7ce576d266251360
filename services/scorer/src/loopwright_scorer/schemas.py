"""What the scorer's API takes and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from loopwright_common.events import ServedRoute
from loopwright_scorer.routing.routes import Route

_LABELS_LIMIT = 10_000
_LARGEST_ID = 128
_LONGEST_LABEL = 256
Id = Annotated[str, Field(min_length=1, max_length=_LARGEST_ID, pattern=r"^[^\x00]+$")]
Label = (
    Annotated[str, Field(max_length=_LONGEST_LABEL)]
    | bool
    | Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | None
)


class FeedbackIn(BaseModel):
    """True outcomes: `labels[i]` belongs to `ids[i]`; a prediction's row i is `<id>.<i>`."""

    model_config = ConfigDict(extra="forbid")
    model: str
    ids: list[Id] = Field(min_length=1, max_length=_LABELS_LIMIT)
    labels: list[Annotated[Label, Field(union_mode="smart")]]
    id_kind: Literal["prediction", "request"] = "prediction"


class FeedbackOut(BaseModel):
    """Labels kept by the event bus, and the ids that are of no prediction of this model."""

    accepted: int
    unknown: list[str]
    why: str | None = None
    """What is likely wrong with the unknown ids."""


class ArmOut(BaseModel):
    """A version of a model, its share of calls, and what became of them."""

    version: int
    weight: float
    role: Literal["live", "shadow", "kept"]
    format: str
    digest: str
    state: Literal["serving", "tripped"]
    why: str | None = None
    calls: int
    errors: int


class ServedModelOut(BaseModel):
    """`revision` 0 means that nothing of the model could be loaded yet.

    By version: `problems` of its own, and what it is `waiting` for, which is tried again.
    """

    model: str | None
    model_id: str
    revision: int
    arms: list[ArmOut]
    problems: dict[str, str]
    waiting: dict[str, str]


class ServedModelsOut(BaseModel):
    """`models` are the names alone, as clients of KServe's protocol V1 read them."""

    items: list[ServedModelOut]
    models: list[str]
    next: str | None = None


def served_model_out(served: ServedRoute, route: Route | None) -> ServedModelOut:
    versions = sorted(route.versions, reverse=True) if route else []
    return ServedModelOut(
        model=route.model if route else None,
        model_id=served.model_id,
        revision=served.revision,
        arms=[_arm(route, version) for version in versions] if route else [],
        problems=served.problems,
        waiting=served.waiting,
    )


def _arm(route: Route, version: int) -> ArmOut:
    arm = route.versions[version]
    weights = {share.version: share.weight for share in route.shares}
    is_shadow = any(shadow.version == version for shadow in route.shadows)
    return ArmOut(
        version=version,
        weight=weights.get(version, 0.0),
        role="live" if version in weights else "shadow" if is_shadow else "kept",
        format=arm.model.spec.format,
        digest=arm.model.digest,
        state="tripped" if route.closed(arm) else "serving",
        why=arm.circuit.opened or arm.model.harm,
        calls=arm.counters.calls,
        errors=arm.counters.errors,
    )
