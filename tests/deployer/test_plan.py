"""What is said before a deployment is what its policy makes of it."""

from typing import Any

from loopwright_common.deploy_policy import (
    CanaryPolicy,
    CanaryStep,
    DeployPolicy,
    HoldoutPolicy,
    LabelsPolicy,
    LatencyPolicy,
    StagingPolicy,
)
from loopwright_deployer.plan import plan


def canary_of(policy: DeployPolicy) -> str:
    return next(
        step.sentence for step in plan(policy, champion="version 3") if step.state == "canary"
    )


def test_a_canary_is_planned_with_what_it_can_find_and_how_many_calls_that_takes() -> None:
    usual = canary_of(DeployPolicy())

    assert "beside version 3: 10%, 50% of the traffic" in usual
    assert (
        "10 points more than the champion's, which takes 33 calls of it at least"
        " (8 by the end of 10%); pauses" in usual
    )


def test_a_smaller_margin_and_more_requests_are_said() -> None:
    steps = [CanaryStep(weight=0.25, min_requests=400)]
    strict = canary_of(DeployPolicy(canary=CanaryPolicy(steps=steps, margin=0.02)))

    assert "25% for at least 400 requests" in strict
    assert (
        "2 points more than the champion's, which takes 176 calls of it at least; pauses" in strict
    )


def test_labels_that_may_take_it_back_are_said_with_their_time_and_margin() -> None:
    policy = DeployPolicy(labels=LabelsPolicy(margin=0.05))
    promoted = plan(policy, champion="version 3")[-1].sentence

    assert "labels that come within 604800s show that it was wrong on 5 points more" in promoted
    assert plan(policy, champion=None)[-1].sentence == "champion"
    assert plan(DeployPolicy(), champion="version 3")[-1].sentence == "champion"


def test_what_becomes_of_a_worse_version_is_said() -> None:
    frozen = canary_of(DeployPolicy(canary=CanaryPolicy(worse="freeze")))

    assert canary_of(DeployPolicy()).endswith("; one that is worse is rolled back")
    assert frozen.endswith(
        "; one that is worse gets no traffic, stays loaded and waits for a person"
    )


def test_a_first_version_has_no_canary() -> None:
    assert "canary" not in [step.state for step in plan(DeployPolicy(), champion=None)]


def staging_of(**holdout: Any) -> str:
    policy = DeployPolicy(staging=StagingPolicy(holdout=HoldoutPolicy(**holdout)))
    return next(step.sentence for step in plan(policy, "version 3") if step.state == "staging")


def test_the_loss_of_the_holdout_is_said_with_its_margin() -> None:
    assert (
        "log_loss of probabilities, error_rate of labels or r2 of figures known to be less than"
        " 0.01 worse than version 3's" in staging_of()
    )
    assert "; brier known to be less than 0.01 worse" in staging_of(metric="brier")
    prices = staging_of(metric="absolute_error", margin=250)
    sliced = "0.01 worse than version 3's and in no slice by job or age more, "
    assert sliced in staging_of(slices=["job", "age"])
    assert "; absolute_error known to be less than 250 worse than version 3's" in prices


def test_the_limit_of_the_latency_is_said_with_what_is_compared() -> None:
    policy = DeployPolicy(staging=StagingPolicy(latency=LatencyPolicy(at_most="3x champion")))
    staging = next(step.sentence for step in plan(policy, "version 3") if step.state == "staging")

    assert staging.endswith("median and p95 of the latency below 3x champion plus 10 ms")


def test_who_is_asked_after_the_checks_is_named() -> None:
    webhook = {"name": "risk", "url": "https://checks.example.com/versions"}
    policy = DeployPolicy.model_validate({"staging": {"webhooks": [webhook]}})

    for champion in (None, "version 1"):
        staging = next(each for each in plan(policy, champion) if each.state == "staging")
        assert staging.sentence.endswith(
            "; then has its say: risk at https://checks.example.com/versions"
        )
