"""Registered models, versions, seals and the rules for names, aliases and formats."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from loopwright_common.errors import InvalidError
from loopwright_common.names import check_name
from loopwright_common.storage import PackageFile
from loopwright_registry.mlflow.domain import Tags, check_length, decoded_wholly

DatasetRole = Literal["training", "holdout"]
ServingUse = Literal["live", "shadow", "kept"]
"""A version in traffic, beside it, or loaded for an undo."""
CHAMPION = "champion"
STAGES = ("None", "Staging", "Production", "Archived")
DATASET_PATHS: Mapping[DatasetRole, str] = {
    "training": "loopwright/training.parquet",
    "holdout": "loopwright/holdout.parquet",
}
PIPELINE_TAG = "loopwright.pipeline"
COMMIT_TAG = "loopwright.commit"
RUN_TAG = "loopwright.run"
DEPLOY_TAG = "loopwright.deploy"
MONITOR_TAG = "loopwright.monitor"
DATASETS_TAG = "loopwright.datasets"
GIT_COMMIT_TAG = "mlflow.source.git.commit"

_ALIAS = re.compile(r"[\w-]{1,255}", re.ASCII)
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A named model; `model_id` never changes, the name may. Times are milliseconds since 1970."""

    model_id: str
    name: str
    description: str | None
    created_ms: int
    updated_ms: int
    tags: Tags = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of a model.

    `held` says that it was made inside a pipeline run that has not registered its package yet.
    """

    model_id: str
    name: str
    version: int
    source: str
    run_id: str | None
    logged_model_id: str | None
    run_link: str | None
    description: str | None
    stage: str
    status_message: str | None
    held: bool
    created_ms: int
    updated_ms: int
    tags: Tags = field(default_factory=dict)
    aliases: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedDataset:
    """A Parquet file of the version's run; the times bound its rows' `time` (RFC 3339)."""

    role: DatasetRole
    digest: str
    location: str
    rows: int
    target: str | None = None
    from_: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a version is, for good: its package by digest, and where it came from."""

    digest: str
    location: str
    format: str
    signature: Mapping[str, Any] | None = None
    pipeline: str | None = None
    run_id: str | None = None
    commit: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: Sequence[SealedDataset] = ()
    deploy: Mapping[str, Any] | None = None
    monitor: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class LoadedVersions:
    """Which versions of a model are loaded in an environment, and what each of them does there."""

    environment: str
    revision: int
    versions: Mapping[int, ServingUse]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What a client asks to register."""

    name: str
    source: str
    run_id: str | None = None
    logged_model_id: str | None = None
    run_link: str | None = None
    description: str | None = None
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePackage:
    """The files that a version's source names, and what their MLmodel says of them."""

    root: str
    files: Sequence[PackageFile]
    digest: str
    format: str
    signature: Mapping[str, Any] | None


def check_model_name(name: str) -> None:
    """InvalidError for a name that no path or URI can hold, or of more than 256 characters."""
    check_length("the model name", name, 256)
    decoded = decoded_wholly(name)
    if not name.strip() or decoded in (".", "..") or {"/", ":"} & {*name, *decoded}:
        raise InvalidError(
            f"Invalid model name: {name!r}. It cannot be empty, '.' or '..', nor contain / or :",
            field="name",
        )
    check_name("name", name)
    check_name("name", decoded)


def check_alias(alias: str) -> None:
    """InvalidError for what is no name, or could be taken for a version."""
    check_name("alias", alias)
    if not _ALIAS.fullmatch(alias) or _RESERVED.fullmatch(alias):
        raise InvalidError(
            f"Invalid alias name: {alias!r}. Use letters, digits, _ and -; not 'latest' nor v1",
            field="alias",
        )


def check_registry_tag(key: str, value: str) -> None:
    """InvalidError for a key of more than 250 characters or a value of more than 100,000.

    Nor may a key hold what is not shown.
    """
    check_name("key", key)
    check_length("the tag key", key, 250)
    check_length("the tag value", value, 100_000)


def version_number(text: str) -> int:
    """The number of a version; InvalidError for a text that is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidError(
            f"Invalid model version: {text!r}; a version is a number", field="version"
        )
    return int(text)


def canonical_stage(stage: str) -> str:
    """The stage as MLflow writes it, whatever the case; InvalidError for an unknown one."""
    for known in STAGES:
        if known.lower() == stage.lower():
            return known
    raise InvalidError(f"Invalid Model Version stage: {stage}. Value must be one of {STAGES}.")


def subject_of(name: str, version: int | None = None) -> str:
    """The CloudEvents subject of a model or of one of its versions."""
    return f"models/{name}" if version is None else f"models/{name}/versions/{version}"
