"""Holds what a packaging process made to what it may make.

It opened what others made, so that its word is theirs: nothing it says of a package may let the
scorer open more than an administrator allows.
"""

from pathlib import Path, PurePosixPath

from loopwright_common.errors import InvalidError, without_paths
from loopwright_common.model_files import check_model_file
from loopwright_common.serving.spec import SPEC_FILE, IsolatedSpec, ServingSpec
from loopwright_deployer.packaging.formats.skops import require_servable
from loopwright_deployer.packaging.isolated import Grant, require_grant
from loopwright_deployer.packaging.sources.requirements import plain_requirement


def verified_spec(target: Path, digest: str, grant: Grant) -> ServingSpec:
    """The spec of a serving package in `target`; InvalidError where it is none of `digest`'s."""
    try:
        spec = ServingSpec.model_validate_json((target / SPEC_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidError(f"{SPEC_FILE}: {without_paths(error)}") from None
    if spec.source_digest != digest:
        raise InvalidError(f"{SPEC_FILE}: it is of another package")
    _check_paths(spec, target)
    if (spec.format == "isolated") != (spec.isolated is not None):
        raise InvalidError(f"{SPEC_FILE}: isolated: for the format isolated, and for no other")
    if spec.isolated is not None:
        _check_isolated(spec.isolated, grant)
    check_model_file(target / spec.file, spec.format)
    if spec.format == "sklearn-skops":
        require_servable(target / spec.file)
    return spec


def _check_paths(spec: ServingSpec, target: Path) -> None:
    code = spec.isolated.code if spec.isolated else None
    for path in (spec.file, *([code] if code else [])):
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or not (target / pure).exists():
            raise InvalidError(f"{SPEC_FILE}: {path!r} is no file of the package")


def _check_isolated(isolated: IsolatedSpec, grant: Grant) -> None:
    if isolated.loader == "runtime":
        raise InvalidError(f"{SPEC_FILE}: isolated: runtime is for the scorer to choose")
    require_grant(isolated.loader, grant)
    for line in isolated.requirements:
        plain_requirement(line)
