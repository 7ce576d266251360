"""How long a package that failed is left alone."""

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_scorer.models.load_backoff import LoadBackoff


def test_the_pauses_between_tries_of_a_package_double_up_to_five_minutes() -> None:
    now = 0.0
    backoff = LoadBackoff(lambda: now)
    pauses = []
    for _ in range(9):
        backoff.record_failure("d", InvalidError("it needs what is not there"))
        tried = now
        while backoff.refusal("d"):
            now += 1.0
        pauses.append(now - tried)

    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    backoff.record_failure("d", InvalidError("it needs what is not there"))
    assert backoff.refusal("d") == "it needs what is not there"
    assert backoff.refusal("other") is None
    backoff.retain(["other"])
    assert backoff.refusal("d") is None


def test_what_is_not_the_packages_fault_is_tried_at_any_time() -> None:
    backoff = LoadBackoff(lambda: 0.0)
    backoff.record_failure("d", UnavailableError("the store is away"))
    assert backoff.refusal("d") is None
