"""Requests on models and versions, and both as MLflow writes them."""

from collections.abc import Sequence

from pydantic import Field

from loopwright_registry.mlflow.json import (
    KeyValue,
    MlflowRequest,
    MlflowResponse,
    mapping_of,
    pairs_json,
)
from loopwright_registry.models.domain import ModelVersion, NewVersion, RegisteredModel
from loopwright_registry.models.domain import version_number as number_of


class RegisteredModelByName(MlflowRequest):
    name: str


class ModelVersionByNumber(RegisteredModelByName):
    version: str

    @property
    def number(self) -> int:
        return number_of(self.version)


class ModelVersionByAlias(RegisteredModelByName):
    alias: str


class SetModelAlias(ModelVersionByAlias):
    version: str

    @property
    def number(self) -> int:
        return number_of(self.version)


class CreateRegisteredModel(RegisteredModelByName):
    description: str | None = None
    tags: list[KeyValue] = Field(default=[])


class UpdateRegisteredModel(RegisteredModelByName):
    description: str | None = None


class RenameRegisteredModel(RegisteredModelByName):
    new_name: str


class SetRegisteredModelTag(RegisteredModelByName):
    key: str
    value: str


class DeleteRegisteredModelTag(RegisteredModelByName):
    key: str


class GetLatestVersions(RegisteredModelByName):
    stages: list[str] = Field(default=[])


class SearchRegisteredModels(MlflowRequest):
    filter: str | None = None
    max_results: int = 100
    order_by: list[str] = Field(default=[])
    page_token: str | None = None


class SearchModelVersions(SearchRegisteredModels):
    max_results: int = 200_000


class CreateModelVersion(RegisteredModelByName):
    source: str
    run_id: str | None = Field(default=None, max_length=256)
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = Field(default=None, max_length=64)
    tags: list[KeyValue] = Field(default=[])

    def new_version(self) -> NewVersion:
        return NewVersion(
            name=self.name,
            source=self.source,
            run_id=self.run_id or None,
            logged_model_id=self.model_id or None,
            run_link=self.run_link,
            description=self.description,
            tags=mapping_of(self.tags),
        )


class UpdateModelVersion(ModelVersionByNumber):
    description: str | None = None


class TransitionModelVersionStage(ModelVersionByNumber):
    stage: str
    archive_existing_versions: bool = False


class SetModelVersionTag(ModelVersionByNumber):
    key: str
    value: str


class DeleteModelVersionTag(ModelVersionByNumber):
    key: str


def version_json(version: ModelVersion) -> MlflowResponse:
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
        "tags": pairs_json(version.tags),
        "run_link": version.run_link or "",
        "aliases": list(version.aliases),
        "model_id": version.logged_model_id,
    }


def model_json(model: RegisteredModel, latest: Sequence[ModelVersion]) -> MlflowResponse:
    return {
        "name": model.name,
        "creation_timestamp": model.created_ms,
        "last_updated_timestamp": model.updated_ms,
        "description": model.description,
        "latest_versions": [version_json(version) for version in latest],
        "tags": pairs_json(model.tags),
        "aliases": [
            {"alias": alias, "version": str(number)} for alias, number in model.aliases.items()
        ],
    }
