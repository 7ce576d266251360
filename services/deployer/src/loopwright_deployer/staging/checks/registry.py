"""The staging checks, in the order in which they are run and shown."""

from loopwright_deployer.staging.checks.base import StagingCheck
from loopwright_deployer.staging.checks.example import ExampleCheck
from loopwright_deployer.staging.checks.holdout import HoldoutCheck
from loopwright_deployer.staging.checks.latency import LatencyCheck
from loopwright_deployer.staging.checks.replay import ReplayCheck
from loopwright_deployer.staging.checks.robustness import RobustnessCheck
from loopwright_deployer.staging.checks.schema import SchemaCheck

CHECKS: tuple[StagingCheck, ...] = (
    SchemaCheck(),
    ExampleCheck(),
    RobustnessCheck(),
    HoldoutCheck(),
    LatencyCheck(),
    ReplayCheck(),
)
