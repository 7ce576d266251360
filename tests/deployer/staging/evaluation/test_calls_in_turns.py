from loopwright_deployer.staging.evaluation.calls_in_turns import CallsInTurns

FOREVER, NO_TIME = 1e9, 0.0


def test_each_round_has_a_call_of_each_in_an_order_of_its_own() -> None:
    made: list[str] = []

    def caller(name: str, seconds: float) -> float:
        made.append(name)
        return seconds

    calls = CallsInTurns([lambda: caller("own", 1.0), lambda: caller("other", 2.0)], FOREVER)

    assert calls.reach(40)
    rounds = [tuple(made[at : at + 2]) for at in range(0, 80, 2)]
    assert set(rounds) == {("own", "other"), ("other", "own")}
    assert [set(taken) for taken in calls.seconds()] == [{1.0}, {2.0}]
    assert min(rounds.count(order) for order in set(rounds)) >= 10


def test_more_rounds_are_added_to_those_before() -> None:
    numbers = iter(range(10))
    calls = CallsInTurns([lambda: float(next(numbers))], FOREVER)

    assert (calls.reach(3), calls.reach(5)) == (True, True)
    assert calls.seconds()[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_when_the_time_is_over_there_was_one_round_and_no_more() -> None:
    calls = CallsInTurns([lambda: 1.0], NO_TIME)

    assert not calls.reach(50)
    assert len(calls.seconds()[0]) == 1
