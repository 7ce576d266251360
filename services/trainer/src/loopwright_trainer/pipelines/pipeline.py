"""What a commit says about its run."""

import hashlib
from dataclasses import dataclass, field

from loopwright_common.deploy_policy import DeployPolicy, MonitorPolicy
from loopwright_trainer.pipelines.stages import Stage

_LONGEST_TOLD = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is registered: paths of the package and of its datasets, and the target column."""

    package: str
    training: str | None = None
    holdout: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class CheckRule:
    """A command, or the rule that notebooks are committed without outputs (command None)."""

    command: str | None

    @property
    def name(self) -> str:
        """The command itself; of a long one the beginning, and a digest to tell it from others."""
        told = self.command or "notebooks without outputs"
        if len(told) > _LONGEST_TOLD:
            digest = hashlib.sha256(told.encode()).hexdigest()
            told = f"{told[:_LONGEST_TOLD]}... ({digest[:12]})"
        return f"check: {told}"


@dataclass(frozen=True, slots=True)
class CodeTrigger:
    """Which changes start a run; None means the watched branch, and any path."""

    branches: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Everything a commit says about its run; `stages` are in an order that can be run.

    With `whole_tree` every stage sees, and is keyed by, the whole commit: the promise of a
    bare `dvc.yaml`, whose declared deps may be incomplete. With `registers_only_package` nobody
    said what is registered: the one MLflow package among the outs is.
    """

    name: str
    model: str | None
    stages: tuple[Stage, ...]
    captured: str | None = None
    register: Registration | None = None
    checks: tuple[CheckRule, ...] = ()
    code: CodeTrigger = field(default_factory=CodeTrigger)
    schedule: str | None = None
    deploy: DeployPolicy = field(default_factory=DeployPolicy)
    monitor: MonitorPolicy = field(default_factory=MonitorPolicy)
    whole_tree: bool = False
    registers_only_package: bool = False
