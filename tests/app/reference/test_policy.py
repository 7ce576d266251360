"""The reference of the policy says what a pipeline file takes."""

import re
from typing import Any

import pytest
import yaml

from loopwright.reference import policy
from loopwright_common.deploy_policy import DeployPolicy, DetectionPolicy, DriftTrigger, Policy
from loopwright_common.policy_reader import PolicyError, read_policy

SECTION = re.compile(r"^## `([a-z.]+)`$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([a-z_.\[\]0-9]+)` \| (?:`(.*)`)? \| (.+) \|$", re.MULTILINE)
KINDS: dict[str, type[Policy]] = {
    "deploy": DeployPolicy,
    "monitor": DetectionPolicy,
    "triggers.drift": DriftTrigger,
}


def nested(path: str, value: object) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key.removesuffix("[]"): [value] if key.endswith("[]") else value}
    assert isinstance(value, dict)
    return value


def test_every_key_is_documented() -> None:
    assert policy.undocumented() == []


def test_every_key_that_is_named_is_taken_and_has_the_default_that_is_said() -> None:
    sections = SECTION.findall(policy.page())
    assert [name for name, _ in sections] == list(KINDS)
    for name, rows in sections:
        for path, default, _ in ROW.findall(rows):
            if default:  # a wrong key or default raises
                given = nested(path, yaml.safe_load(default))
                read_policy(KINDS[name], given)


def test_a_key_that_is_not_named_is_refused() -> None:
    named = {path for _, rows in SECTION.findall(policy.page()) for path, *_ in ROW.findall(rows)}
    assert "canary.steps[].weight" in named
    with pytest.raises(PolicyError, match="unknown key"):
        read_policy(DeployPolicy, {"no_such_key": 1})
