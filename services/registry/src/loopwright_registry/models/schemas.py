"""Requests on models and versions, and both as MLflow writes them."""

from collections.abc import Sequence

from pydantic import Field

from loopwright_registry.mlflow.json import Answer, Asked, Pair, mapping, pairs
from loopwright_registry.models.domain import ModelVersion, NewVersion, RegisteredModel
from loopwright_registry.models.domain import version_number as number_of


class ByName(Asked):
    name: str


class ByVersion(ByName):
    version: str

    @property
    def number(self) -> int:
        return number_of(self.version)


class ByAlias(ByName):
    alias: str


class SetAlias(ByAlias):
    version: str

    @property
    def number(self) -> int:
        return number_of(self.version)


class CreateModel(ByName):
    description: str | None = None
    tags: list[Pair] = Field(default=[])


class UpdateModel(ByName):
    description: str | None = None


class RenameModel(ByName):
    new_name: str


class SetTag(ByName):
    key: str
    value: str


class DeleteTag(ByName):
    key: str


class LatestVersions(ByName):
    stages: list[str] = Field(default=[])


class Search(Asked):
    filter: str | None = None
    max_results: int = 100
    order_by: list[str] = Field(default=[])
    page_token: str | None = None


class SearchVersions(Search):
    max_results: int = 200_000


class CreateVersion(ByName):
    source: str
    run_id: str | None = Field(default=None, max_length=256)
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = Field(default=None, max_length=64)
    tags: list[Pair] = Field(default=[])

    def new_version(self) -> NewVersion:
        return NewVersion(
            name=self.name,
            source=self.source,
            run_id=self.run_id or None,
            logged_model_id=self.model_id or None,
            run_link=self.run_link,
            description=self.description,
            tags=mapping(self.tags),
        )


class UpdateVersion(ByVersion):
    description: str | None = None


class TransitionStage(ByVersion):
    stage: str
    archive_existing_versions: bool = False


class SetVersionTag(ByVersion):
    key: str
    value: str


class DeleteVersionTag(ByVersion):
    key: str


def written_version(version: ModelVersion) -> Answer:
    return {
        "name": version.name,
        "version": str(version.version),
        "creation_timestamp": version.created_ms,
        "last_updated_timestamp": version.updated_ms,
        "current_stage": version.stage,
        "description": version.description or "",
        "source": version.source,
        "run_id": version.run_id or "",
        "status": "READY",
        "status_message": version.status_message,
        "tags": pairs(version.tags),
        "run_link": version.run_link or "",
        "aliases": list(version.aliases),
        "model_id": version.logged_model_id,
    }


def written_model(model: RegisteredModel, latest: Sequence[ModelVersion]) -> Answer:
    return {
        "name": model.name,
        "creation_timestamp": model.created_ms,
        "last_updated_timestamp": model.updated_ms,
        "description": model.description,
        "latest_versions": [written_version(version) for version in latest],
        "tags": pairs(model.tags),
        "aliases": [
            {"alias": alias, "version": str(number)} for alias, number in model.aliases.items()
        ],
    }
