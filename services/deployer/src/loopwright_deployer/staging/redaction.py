"""What is kept out of records has to be an input: a misspelt name would protect nothing."""

from loopwright_common.errors import InvalidError
from loopwright_deployer.deployments.repository import DeploymentRecord


def require_redacted_inputs(record: DeploymentRecord) -> None:
    """InvalidError where a redacted name is none of the version's inputs, if those are known."""
    inputs = (record.registered.signature or {}).get("inputs")
    redacted = record.policy.record.redact
    if not redacted or not isinstance(inputs, list):
        return
    names = [str(each.get("name") or "input") for each in inputs if isinstance(each, dict)]
    if unknown := [name for name in redacted if name not in names]:
        raise InvalidError(
            f"deploy.record.redact: {unknown[0]!r} is no input of the version; its inputs are "
            f"{', '.join(names)}",
            field="deploy.record.redact",
        )
