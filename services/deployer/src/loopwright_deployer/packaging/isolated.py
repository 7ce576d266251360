"""Packages that are served from a process of their own.

These are granted pickles, River's JSON, and skops files of modules that the scorer may lack.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import IsolatedSpec, ServingSpec
from loopwright_deployer.packaging.sources.flavors import Loader
from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from loopwright_deployer.packaging.sources.requirements import python_version, required_packages

GRANT = "LOOPWRIGHT_DEPLOYER_PICKLE_MODELS"
_PACKAGE = "package"
_RUN_ANY_CODE = ("pickle", "mlflow")
_OF_ANY_PYTHON = ("river", "skops")
_DESCRIBED = ("task", "classes", "targets", "predicts")


@dataclass(frozen=True, slots=True)
class Grant:
    """What an administrator allows the model of a package; no package can say it of itself."""

    model: str = ""
    pickle: bool = False


NO_GRANT = Grant()


def require_grant(loader: Loader, grant: Grant, refusal: str = "it runs any code") -> None:
    """InvalidError, with `refusal`, where opening the package runs code that nobody has granted."""
    if loader in _RUN_ANY_CODE and not grant.pickle:
        raise InvalidError(
            f"{refusal}. Or an administrator names {grant.model or 'the model'} in {GRANT}:"
            " then it is opened, and runs, in a process of its own with limits"
        )


def draft_isolated(source: PackageSource, target: Path, digest: str, grant: Grant) -> ServingSpec:
    """Copy the package; what its model is, is found out by whoever opens it (`described_spec`).

    InvalidError without the grant, or without a signature.
    """
    assert source.loader is not None  # noqa: S101  (the caller has looked)
    require_grant(source.loader, grant, source.refusal)
    if source.columns is None and source.tensor is None:
        raise InvalidError(
            "the package has no signature; log it with signature=infer_signature(X, y) "
            "or with an input_example"
        )
    directory = source.directory
    shutil.copytree(directory, target / _PACKAGE)
    file = target / _PACKAGE
    if source.loader != "mlflow":
        file = file / source.file.relative_to(directory.resolve())
    code = target / _PACKAGE / "code"
    return ServingSpec(
        format="isolated",
        file=str(file.relative_to(target)),
        task="regressor",
        classes=source.classes,
        columns=source.columns,
        tensor=source.tensor,
        source_digest=digest,
        example=source.example,
        trusted=source.trusted,
        isolated=IsolatedSpec(
            loader=source.loader,
            requirements=required_packages(source),
            python=None if source.loader in _OF_ANY_PYTHON else python_version(source),
            code=str(code.relative_to(target)) if code.is_dir() else None,
        ),
    )


def described_spec(draft: ServingSpec, answer: Mapping[str, Any], *, own: bool) -> ServingSpec:
    """The draft with what a process of the package said of it; InvalidError for no sense.

    `own` tells that it runs on an environment of its own.
    """
    assert draft.isolated is not None  # noqa: S101  (a draft of ours has it)
    where = "an environment of its own" if own else "a process of its own"
    described = {name: answer[name] for name in _DESCRIBED if name in answer}
    described["parity"] = f"runs in {where}, opened by {draft.isolated.loader}"
    try:
        return ServingSpec.model_validate({**draft.model_dump(), **described})
    except ValueError as error:
        raise InvalidError(f"the package describes itself in no way known: {error}") from None
