"""Whatever is wrong with a policy is said at once, where it is, in words of whoever wrote it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.deploy_policy import (
    ApprovalPolicy,
    DeployPolicy,
    MonitorPolicy,
    StagingPolicy,
)
from loopwright_common.policy_reader import PolicyError, PolicyFault, read_policy

LEAKS = re.compile(r"pydantic|Input should|regex|pattern|literal|no-approval|by-roles|[\^$\\]")


def faults_of(value: Mapping[Any, Any]) -> list[str]:
    with pytest.raises(PolicyError) as refused:
        read_policy(DeployPolicy, value)
    return [str(fault) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (
            {"canary": {"stepz": []}},
            "stepz: unknown key; did you mean steps? allowed are error_ratio,",
        ),
        ({"canary": {"steps": []}}, "canary.steps: needs at least 1"),
        ({"canary": {"steps": [{"weight": 1.0}]}}, "canary.steps.0.weight: has to be less than 1"),
        ({"canary": {"steps": [{}]}}, "canary.steps.0.weight: is missing"),
        (
            {"canary": {"steps": [{"weight": 0.5}, {"weight": 0.1}]}},
            "canary.steps: the weights of the steps have to grow",
        ),
        (
            {"canary": {"steps": [{"weight": 0.5, "min_requests": 10**9}]}},
            "canary.steps.0.min_requests: has to be at most 1000000",
        ),
        ({"canary": {"max_time": "soon"}}, "canary.max_time: 'soon' is no duration; write it as"),
        ({"canary": {"max_time": "0s"}}, "canary.max_time: has to be more than 0s"),
        ({"canary": {"max_time": "99999999999d"}}, "canary.max_time: 99999999999d is longer than"),
        ({"canary": {"error_ratio": float("inf")}}, "canary.error_ratio: has to be a finite"),
        ({"canary": {"error_ratio": "10%"}}, "has to be a number; write 10% as 0.1"),
        ({"canary": {"margin": "a%"}}, "canary.margin: has to be a number"),
        ({"canary": {"margin": 0}}, "canary.margin: has to be more than 0"),
        ({"canary": [1]}, "canary: has to be a mapping"),
        ({"keep": 0}, "keep: has to be at least 1"),
        ({"labels": {"window": "36d"}}, "labels.window: is longer than labels are waited for; "),
        ({"labels": {"margin": 0.6}}, "labels.margin: has to be at most 0.5"),
        (
            {"labels": {}, "routing_key": "customer"},
            "labels take no promotion back where routing_key binds callers to a version",
        ),
        (
            {"labels": {}, "record": {"sample": 0}},
            "record a share of the calls or leave out labels",
        ),
        ({"keep": "1e9"}, "keep: has to be a whole number, in digits alone"),
        ({"keep": "9" * 5000}, "keep: has to be a whole number of fewer digits"),
        ({True: 1}, "put the key in quotes"),
        ({"canary": {"margin": b"1%"}}, "canary.margin: has to be a number"),
        ({"keep": 1.5}, "keep: has to be a whole number"),
        ({"approval": "later"}, "approval: has to be 'none' or a mapping with `roles:`"),
        ({"approval": {"roles": "approver"}}, "has to be a list; write it as [approver]"),
        ({"approval": {"roles": []}}, "approval.roles: needs at least 1"),
        ({"approval": {"then": "promote"}}, "approval.then: has to be 'pause' or 'reject'"),
        ({"approval": {"rolls": []}}, "rolls: unknown key; did you mean roles? allowed are roles,"),
        *(
            ({"staging": {"webhooks": [{"name": "risk", "url": url}]}}, f"webhooks.0.url: {why}")
            for url, why in [
                ("checks.example.com", "checks.example.com is no URL; write it as https://"),
                ("ftp://checks.example.com/", "ftp://checks.example.com/ is no URL"),
                ("https:///versions", "https:///versions is no URL"),
                ("https://a b/", "https://a b/ is no URL"),
                ("https://example.com:99999/", "https://example.com:99999/ is no URL"),
                ("https://[::1/", "https://[::1/ is no URL"),
                ("https://a..b/", "https://a..b/ is no URL"),
                (f"https://{'x' * 64}.com/", f"https://{'x' * 64}.com/ is no URL"),
                ("https://me:secret@example.com/", "has to be a URL without a user and password"),
            ]
        ),
        (
            {"staging": {"webhooks": [{"name": "Risk!", "url": "https://example.com/"}]}},
            "staging.webhooks.0.name: Risk! is no name of a webhook; write small letters,",
        ),
        (
            {"staging": {"webhooks": [{"name": "a", "url": "http://a/", "within": "2h"}]}},
            "staging.webhooks.0.within: has to be at most 1m; for people to decide, use",
        ),
        (
            {"staging": {"webhooks": [{"name": "a", "url": "http://a/"}] * 2}},
            "staging.webhooks: two of them are called a",
        ),
        ({"staging": {"latency": {"at_most": "50us"}}}, "at_most: '50us' is no limit above 0"),
        (
            {"staging": {"latency": {"at_most": "0x champion"}}},
            "at_most: '0x champion' is no limit above 0; write it as 1.2x champion or 50ms",
        ),
        ({"staging": {"holdout": {"margin": float("inf")}}}, "margin: has to be a finite"),
        (
            {"staging": {"holdout": {"margin": 250}}},
            "staging.holdout.margin: say of which metric 250 is the margin, such as metric:",
        ),
        (
            {"staging": {"holdout": {"metric": "absolute_error"}}},
            "staging.holdout.margin: is missing: absolute_error is in the target's own unit, so say"
            " how much more of it is no harm, or use metric: r2",
        ),
        (
            {"staging": {"holdout": {"metric": "r2", "margin": 2}}},
            "staging.holdout.margin: has to be less than 1 for r2; write 2 % as 0.02",
        ),
        (
            {"staging": {"holdout": {"metric": "error_rate", "margin": "2%"}}},
            "staging.holdout.margin: has to be a number; write 2% as 0.02",
        ),
        (
            {"staging": {"holdout": {"metric": "rmse", "margin": 2}}},
            "staging.holdout.metric: has to be 'log_loss', 'brier', 'error_rate', 'r2',",
        ),
    ],
)
def test_a_fault_is_told_with_its_key_and_the_remedy(value: Mapping[Any, Any], fault: str) -> None:
    (told,) = faults_of(value)
    assert fault in told
    assert not LEAKS.search(told)


def test_all_faults_are_told_at_once() -> None:
    told = faults_of({"keep": 0, "canary": {"stepz": 1, "max_time": "soon"}, "what": 1})
    assert sorted(fault.split(":")[0] for fault in told) == [
        "canary.max_time",
        "canary.stepz",
        "keep",
        "what",
    ]


def test_steps_that_do_not_grow_are_told_beside_what_else_is_wrong_with_them() -> None:
    steps = [{"weight": "10%"}, {"weight": 0.5}, {"weight": 10**400}, {"weight": 0.2, "x": 1}]
    assert [fault.split(": ")[0] for fault in faults_of({"canary": {"steps": steps}})] == [
        "canary.steps.0.weight",
        "canary.steps.2.weight",
        "canary.steps.3.x",
        "canary.steps",
    ]


def test_nothing_said_is_the_default() -> None:
    assert read_policy(DeployPolicy, None) == DeployPolicy()
    assert read_policy(MonitorPolicy, {}) == MonitorPolicy()


@pytest.mark.parametrize(
    ("holdout", "allowed"),
    [
        ({}, 0.01),
        ({"metric": None, "margin": None}, 0.01),
        ({"metric": "r2"}, 0.01),
        ({"metric": "log_loss", "margin": 2}, 2),
        ({"metric": "squared_error", "margin": 250}, 250),
    ],
)
def test_a_margin_is_that_of_a_metric(holdout: Mapping[str, Any], allowed: float) -> None:
    staging = read_policy(DeployPolicy, {"staging": {"holdout": holdout}}).staging

    assert staging.holdout.allowed == allowed
    assert read_policy(StagingPolicy, staging.model_dump(mode="json")) == staging


@pytest.mark.parametrize(
    ("slices", "why"),
    [
        (["a", "b", "a"], "has a twice: name each column once"),
        ([""], "staging.holdout.slices"),
        (list("abcdef"), "staging.holdout.slices"),
    ],
)
def test_slices_are_a_few_columns_each_named_once(slices: list[str], why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        read_policy(DeployPolicy, {"staging": {"holdout": {"slices": slices}}})


def test_an_approval_is_none_or_by_roles() -> None:
    assert read_policy(DeployPolicy, {"approval": "none"}).approval == "none"
    assert read_policy(DeployPolicy, {"approval": {"roles": ["x"]}}).approval == ApprovalPolicy(
        roles=["x"]
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["canary", "steps", "weight", "approval", "roles", "keep", "record", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(json_values)
def test_whatever_is_there_is_read_or_refused_in_own_words(value: Any) -> None:
    faults: Sequence[PolicyFault] = ()
    try:
        read_policy(DeployPolicy, value)
    except PolicyError as error:
        faults = error.faults
    assert not [fault for fault in faults if LEAKS.search(fault.sentence.split(";")[0])]
