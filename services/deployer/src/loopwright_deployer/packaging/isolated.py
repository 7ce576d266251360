"""Packages that are served from a process of their own.

These are granted pickles, River's JSON, and skops files of modules that the scorer may lack.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.process.subprocesses import die_with_parent
from loopwright_common.serving.spec import SPEC_FILE, IsolatedSpec, ServingSpec
from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from loopwright_deployer.packaging.sources.requirements import python_version, required_packages

GRANT = "LOOPWRIGHT_DEPLOYER_PICKLE_MODELS"
_DESCRIBE = (sys.executable, "-m", "loopwright_scorer.models.describe")
_PACKAGE = "package"
_RUN_ANY_CODE = ("pickle", "mlflow")
_OF_ANY_PYTHON = ("river", "skops")


@dataclass(frozen=True, slots=True)
class Grant:
    """What an administrator allows the model of a package; no package can say it of itself."""

    model: str = ""
    pickle: bool = False
    environments: Path | None = None
    """Where environments are kept between packages."""


NO_GRANT = Grant()


def build_isolated(source: PackageSource, target: Path, digest: str, grant: Grant) -> ServingSpec:
    """Copy the package and ask a process of its own what it is; InvalidError without the grant.

    UnavailableError while the package index cannot be reached.
    """
    assert source.loader is not None  # noqa: S101  (the caller has looked)
    if source.loader in _RUN_ANY_CODE and not grant.pickle:
        raise InvalidError(
            f"{source.refusal}. Or an administrator names {grant.model or 'the model'} in {GRANT}:"
            " then it is opened, and runs, in a process of its own with limits"
        )
    directory = source.directory
    shutil.copytree(directory, target / _PACKAGE)
    file = target / _PACKAGE
    if source.loader != "mlflow":
        file = file / source.file.relative_to(directory.resolve())
    code = target / _PACKAGE / "code"
    draft = ServingSpec(
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
    return draft.model_copy(update=_describe(draft, target, grant))


def _describe(draft: ServingSpec, target: Path, grant: Grant) -> dict[str, Any]:
    """Task and classes, from the scorer that opens it as it will when it serves."""
    if draft.columns is None and draft.tensor is None:
        raise InvalidError(
            "the package has no signature; log it with signature=infer_signature(X, y) "
            "or with an input_example"
        )
    (target / SPEC_FILE).write_text(draft.model_dump_json(exclude_none=True))
    environments = str(grant.environments) if grant.environments else None
    job = json.dumps({"package": str(target), "environments": environments})
    done = subprocess.run(
        _DESCRIBE,
        input=job.encode() + b"\n",
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent,
        check=False,
    )
    if not done.stdout:
        raise InvalidError(f"the package's process ended with status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise (UnavailableError if answer.get("transient") else InvalidError)(str(answer["error"]))
    isolated = draft.isolated
    where = "a process of its own" if not answer.pop("own") else "an environment of its own"
    assert isolated is not None  # noqa: S101  (it was given above)
    return {**answer, "parity": f"runs in {where}, opened by {isolated.loader}"}
