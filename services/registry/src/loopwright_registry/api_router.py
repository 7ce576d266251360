"""What the routes of the registry's own have in common, beside MLflow's."""

from fastapi import APIRouter, Depends, Request

from loopwright_common.web.problems import PROBLEMS
from loopwright_registry.mlflow.domain import check_text


def api_router(tag: str) -> APIRouter:
    """A router below `/v1` that refuses names which no database could look for."""
    dependencies = [Depends(_require_text)]
    return APIRouter(prefix="/v1", tags=[tag], responses=PROBLEMS, dependencies=dependencies)


def _require_text(request: Request) -> None:
    for name, value in [*request.path_params.items(), *request.query_params.multi_items()]:
        check_text(name, str(value))
