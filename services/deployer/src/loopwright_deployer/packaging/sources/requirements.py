"""The other Python packages that a package says it needs, as MLflow lays them out."""

from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from loopwright_common.errors import InvalidError, without_paths
from loopwright_deployer.packaging.sources.mlmodel import PackageSource

_MLFLOW = ("mlflow", "mlflow-skinny")
_NO_INDEX = "where packages come from is told to the deployer and the scorer, not by a package"


def required_packages(source: PackageSource) -> list[str]:
    """What must be installed to open it; InvalidError names a line that is no plain requirement."""
    lines = _declared(source)
    if source.loader != "mlflow":
        lines = [one for one in lines if canonicalize_name(Requirement(one).name) not in _MLFLOW]
    names = {canonicalize_name(Requirement(one).name) for one in lines}
    if source.loader in ("river", "skops") and source.loader not in names:
        lines.append(source.loader)
    if source.loader != "river" and source.columns is not None and "pandas" not in names:
        lines.append("pandas")
    return lines


def python_version(source: PackageSource) -> str | None:
    """`3.11`, or None where none is named; pickles hold the code of one minor version.

    InvalidError for a `python_env.yaml` that does not read.
    """
    version = str(_python_env(source).get("python", ""))
    return ".".join(version.split(".")[:2]) or None


def _declared(source: PackageSource) -> list[str]:
    file = source.directory / "requirements.txt"
    if file.is_file():
        lines = file.read_text().splitlines()
    else:
        lines = [str(one) for one in _python_env(source).get("dependencies", ())]
    plain = (line.split(" #")[0].strip() for line in lines)
    return [plain_requirement(line) for line in plain if line and not line.startswith("#")]


def plain_requirement(line: str) -> str:
    """The line as it is installed; InvalidError for one with an address or an option."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        why = _NO_INDEX if line.startswith("-") else str(error).splitlines()[0]
        raise InvalidError(f"requirements.txt: {line!r}: {why}") from None
    if requirement.url is not None:
        raise InvalidError(f"requirements.txt: {line!r}: {_NO_INDEX}")
    return str(requirement)


def _python_env(source: PackageSource) -> dict[str, Any]:
    import yaml

    file = source.directory / "python_env.yaml"
    if not file.is_file():
        return {}
    try:
        return dict(yaml.safe_load(file.read_text()) or {})
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InvalidError(f"python_env.yaml: {without_paths(error)}") from None
