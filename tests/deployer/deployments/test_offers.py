"""What a person may do now, no more and no less; the journeys try each of them."""

from collections.abc import Collection, Mapping

import pytest

from loopwright_common import clock
from loopwright_common.deploy_policy import ApprovalPolicy, DeployPolicy
from loopwright_deployer.deployments.domain import DeploymentState as S
from loopwright_deployer.deployments.gates import SKIPPABLE, Gate
from loopwright_deployer.deployments.offers import offers
from tests.deployer.builders import deployment

APPROVED = DeployPolicy(approval=ApprovalPolicy())
YES = {Gate.APPROVAL: "yes"}


@pytest.mark.parametrize(
    ("paused_from", "against", "gates", "skippable", "told"),
    [
        (S.STAGING, 1, {}, SKIPPABLE, "resume abort"),
        (S.APPROVAL, 1, {}, SKIPPABLE, "resume skip-approval abort"),
        (S.APPROVAL, 1, {}, {Gate.CANARY}, "resume abort"),
        (S.VALIDATED, 1, YES, SKIPPABLE, "resume skip-canary abort"),
        (S.VALIDATED, 1, YES, {Gate.APPROVAL}, "resume abort"),
        (S.VALIDATED, 1, {**YES, Gate.CANARY: "skipped"}, SKIPPABLE, "resume abort"),
        (S.VALIDATED, 2, YES, SKIPPABLE, "resume abort"),
        (S.CANARY, 1, YES, SKIPPABLE, "resume skip-canary abort"),
        (None, 1, {}, SKIPPABLE, "approve reject skip-approval"),
        (None, 1, {}, {Gate.CANARY}, "approve reject"),
    ],
)
def test_a_pause_offers_what_is_possible_where_it_stands(
    paused_from: S | None,
    against: int,
    gates: Mapping[str, str],
    skippable: Collection[Gate],
    told: str,
) -> None:
    state = S.PAUSED if paused_from else S.APPROVAL
    mine = deployment(
        state=state, paused_from=paused_from, staged=True, staged_against=against, gates=gates
    )

    offered = [
        f"{offer.verb}-{offer.gate}" if offer.gate else offer.verb
        for offer in offers(mine, APPROVED, 1, clock.now(), skippable)
    ]

    assert offered == told.split()


@pytest.mark.parametrize("state", sorted(set(S) - {S.PAUSED, S.APPROVAL}))
def test_nothing_is_offered_while_nobody_is_waited_for(state: S) -> None:
    assert list(offers(deployment(state=state), APPROVED, 1, clock.now())) == []
