"""Answers of the models' own API."""

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel

from loopwright_registry.models.domain import ModelVersion, Seal


class ModelOut(BaseModel):
    model_id: str
    name: str
    description: str | None
    tags: dict[str, str]
    aliases: dict[str, int]


class ModelsOut(BaseModel):
    items: list[ModelOut]
    next: str | None


class VersionOut(BaseModel):
    """A version with its seal.

    What belongs to the seal is None, and `status_message` says why, when the files are not in our
    store.
    """

    model_id: str
    model: str
    version: int
    sealed: bool
    held: bool
    status_message: str | None
    digest: str | None
    format: str | None
    signature: dict[str, Any] | None
    metrics: dict[str, float]
    datasets: list[dict[str, Any]]
    run_id: str | None
    tracking_run_id: str | None
    commit: str | None
    pipeline: str | None
    aliases: list[str]
    tags: dict[str, str]
    created_ms: int


class VersionsOut(BaseModel):
    items: list[VersionOut]
    next: str | None


class VerifiedOut(BaseModel):
    digest: str
    files: int
    verified: bool
    problems: list[str]


def version_out(version: ModelVersion, seal: Seal | None) -> VersionOut:
    return VersionOut(
        model_id=version.model_id,
        model=version.name,
        version=version.version,
        sealed=seal is not None,
        held=version.held,
        status_message=version.status_message,
        digest=seal.digest if seal else None,
        format=seal.format if seal else None,
        signature=dict(seal.signature) if seal and seal.signature else None,
        metrics=dict(seal.metrics) if seal else {},
        datasets=[_dataset(asdict(item)) for item in seal.datasets] if seal else [],
        run_id=seal.run_id if seal else version.run_id,
        tracking_run_id=version.run_id,
        commit=seal.commit if seal else None,
        pipeline=seal.pipeline if seal else None,
        aliases=list(version.aliases),
        tags=dict(version.tags),
        created_ms=version.created_ms,
    )


def _dataset(facts: dict[str, Any]) -> dict[str, Any]:
    return {"from" if key == "from_" else key: value for key, value in facts.items()}
