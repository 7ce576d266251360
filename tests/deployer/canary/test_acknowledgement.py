from datetime import datetime, timedelta

from loopwright_common import clock
from loopwright_common.events import ServedRoute
from loopwright_deployer.canary.acknowledgement import SILENT_AFTER, PublishedRevision, missed_by
from tests.deployer.builders import MODEL_ID, replica

NOW = clock.now()
LONG_AGO = NOW - timedelta(minutes=1)


def missed(revision: int | None, at: datetime = NOW, **more: object) -> list[str]:
    """Who has missed revision 2 of a minute ago, when one replica reports this."""
    routes = [ServedRoute.model_validate({"model_id": MODEL_ID, "revision": revision, **more})] if revision else []  # fmt: skip  # noqa: E501
    wanted = PublishedRevision("production", MODEL_ID, 2, LONG_AGO)
    return missed_by(wanted, [replica(*routes, at=at)], NOW)


def test_only_a_live_replica_without_a_reason_has_missed_a_route() -> None:
    assert missed(1) == ["r1"]
    assert missed(None) == ["r1"]
    assert missed(2) == []
    assert missed(1, problems={"2": "digest does not match"}) == []
    assert missed(1, waiting={"2": "the store is away"}) == []
    assert missed(1, at=NOW - SILENT_AFTER) == []
    assert missed(1, at=LONG_AGO + timedelta(seconds=5)) == []
