"""A frozen canary: known to be worse, without traffic, and loaded to be looked at."""

from dataclasses import replace

from loopwright_deployer.canary import label_verdict
from loopwright_deployer.canary.verdicts import CHECK_NAMES
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.repository import DeploymentRecord


def is_frozen(record: DeploymentRecord) -> bool:
    """Whether it waits, with a failed check of its canary, for a person to decide."""
    deployment = record.deployment
    waits = deployment.state is DeploymentState.PAUSED and not deployment.in_canary
    failed = any(c.name in CHECK_NAMES and c.verdict == "failed" for c in record.checks)
    return waits and failed and Gate.CANARY not in deployment.gates


def without_canary_checks(record: DeploymentRecord) -> DeploymentRecord:
    """The record before a canary that counts nothing of what an earlier one has counted."""
    counted = {*CHECK_NAMES, label_verdict.NAME}
    checks = tuple(check for check in record.checks if check.name not in counted)
    return replace(record, checks=checks)
