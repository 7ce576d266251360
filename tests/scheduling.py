"""Which worker runs which test: the long ones first, and those that share a system together.

pytest-xdist's own groups do nothing with this pytest: it adds a group's name to an attribute of
the test that is not read any more, so that each worker would start such a system of its own.
"""

import re

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

_SHARED = re.compile(
    r"tests/e2e/test_(new_user|new_user_on_kafka|faults)\.py|test_package_flavors\.py"
)
"""Files whose tests share what a fixture of the module starts."""
_LONGEST = (
    "test_demo.py",
    "e2e/test_kill.py",
    "test_package_flavors.py",
    "test_kafka_faults.py",
    "e2e/test_new_user.py",
    "test_bus_outage.py",
    "e2e/test_new_user_on_kafka.py",
    "test_harmful_models.py",
    "test_replay_of_recorded_calls.py",
    "test_takeover.py",
    "e2e/test_faults.py",
    "test_index_outages.py",
    "test_register_to_champion.py",
    "test_limits.py",
    "test_holdout_verdicts.py",
    "river_json/test_reader.py",
    "test_mlflow_api.py",
)
"""What takes longest, so that no worker begins with it when the others have nothing left.

What computes and what mostly waits by turns: the others compute while one waits.
"""


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out one test at a time, and a file at a time where its tests share a system."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _SHARED.search(file) else nodeid


def rank(nodeid: str) -> int:
    """The place in the order of starting; all that is short shares the last."""
    return next((n for n, name in enumerate(_LONGEST) if name in nodeid), len(_LONGEST))


def make_scheduler(config: pytest.Config, log: object) -> LongestFirst | None:
    """The scheduler of `--dist loadgroup`, for the hook of pytest-xdist."""
    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return LongestFirst(config, log)
