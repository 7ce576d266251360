"""The call centre calls no faster than the machine closes the loop."""

import asyncio

import httpx
import pytest

from loopwright.demo.client.pace import IDLE, MonitorLag, Pacing, busy_pace


@pytest.mark.parametrize(
    ("seconds", "per_second"), [(2, 200), (10, 200), (30, 100), (60, 50), (600, 25)]
)
def test_a_slow_machine_is_called_less_often_while_it_makes_a_version(
    seconds: float, per_second: float
) -> None:
    assert busy_pace(seconds).per_second == per_second


async def test_nobody_runs_ahead_of_the_monitor() -> None:
    lags = {"monitor.capture": 3, "monitor.detect": 3}

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/consumers"
        items = [{"name": name, "lag": lag} for name, lag in lags.items()]
        return httpx.Response(200, json={"items": items})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        lag = MonitorLag(http, "http://monitor", silent_after=600)
        busy = busy_pace(30)
        following = asyncio.create_task(lag.follow())
        async with asyncio.timeout(60):
            while lag.records != 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert Pacing(lag, lambda: False, busy)() == IDLE
            assert Pacing(lag, lambda: True, busy)() == busy
            lags["monitor.detect"] = 1_000
            while lag.records != 1_000:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert Pacing(lag, lambda: False, busy)() is None
        following.cancel()


async def test_a_monitor_that_does_not_answer_is_waited_for() -> None:
    async with httpx.AsyncClient() as http:
        lag = MonitorLag(http, "http://monitor", silent_after=0.05)
        await asyncio.sleep(0.1)
        assert Pacing(lag, lambda: False, busy_pace(30))() is None
