"""The budget of inference records: memory while they wait and, on a busy scorer, bytes a second."""

_BURST_SECONDS = 2
"""A burst may take as much at once as comes in this time."""
_CHECK_SECONDS = 0.1
_BUSY = 0.75
"""Share of a core that the event loop takes when there is no time to spare."""


class RecordBudget:
    """A budget for records, in bytes of the requests they are records of.

    Sealing costs answers in proportion to what is sealed. A flood is therefore recorded up to a
    rate, spread over all of its time, instead of as fast as it can be and then not at all.
    """

    def __init__(self, room: int, rate: int) -> None:
        """`room` in bytes, `rate` in bytes a second."""
        self._room = room
        self._rate = rate / 1e6
        self._burst = self._allowance = float(rate * _BURST_SECONDS)
        self._since = 0
        self._checked = (0.0, 0.0)

    def reserve(self, size: int, micros: int) -> bool:
        """Whether there is room for so many bytes; `micros`: now, in microseconds since 1970."""
        if size > self._room:
            return False
        if size > self._allowance:
            # Only looked at when it is short, as most of the time it is not.
            passed, self._since = max(micros - self._since, 0), micros
            self._allowance = min(self._allowance + passed * self._rate, self._burst)
            if size > self._allowance:
                return False
        self._allowance -= size
        self._room -= size
        return True

    def release(self, size: int) -> None:
        """Give back the memory of records that wait no more."""
        self._room += size

    def refill_when_idle(self, now: float, cpu: float) -> None:
        """Refill the allowance where the event loop is idle.

        `now` and `cpu`: the time and the event loop's own CPU time, both in seconds.
        """
        passed, used = now - self._checked[0], cpu - self._checked[1]
        if passed < _CHECK_SECONDS:
            return
        self._checked = now, cpu
        if used < _BUSY * passed:
            self._allowance = self._burst
