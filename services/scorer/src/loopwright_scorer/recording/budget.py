"""What records may take: memory while they wait and, of a busy scorer, bytes a second."""

_BURST_SECONDS = 2
"""A burst may take as much at once as comes in this time."""
_LOOK_SECONDS = 0.1
_BUSY = 0.75
"""Share of a core that the event loop takes when there is no time to spare."""


class RecordBudget:
    """Bytes of requests whose records are kept.

    Sealing costs answers in proportion to what is sealed. A flood is therefore recorded up to a
    rate, spread over all of its time, instead of as fast as it can be and then not at all.
    """

    def __init__(self, room: int, rate: int) -> None:
        """`room` in bytes, `rate` in bytes a second."""
        self._room = room
        self._rate = rate / 1e6
        self._most = self._allowance = float(rate * _BURST_SECONDS)
        self._since = 0
        self._looked = (0.0, 0.0)

    def take(self, size: int, micros: int) -> bool:
        """Whether there is room for so many bytes; `micros`: now, in microseconds since 1970."""
        if size > self._room:
            return False
        if size > self._allowance:
            # Only looked at when it is short, as most of the time it is not.
            passed, self._since = max(micros - self._since, 0), micros
            self._allowance = min(self._allowance + passed * self._rate, self._most)
            if size > self._allowance:
                return False
        self._allowance -= size
        self._room -= size
        return True

    def give_back(self, size: int) -> None:
        """They do not wait any more."""
        self._room += size

    def look(self, now: float, cpu: float) -> None:
        """Told the time and the event loop's own CPU time, in seconds: idle, it may record all."""
        passed, used = now - self._looked[0], cpu - self._looked[1]
        if passed < _LOOK_SECONDS:
            return
        self._looked = now, cpu
        if used < _BUSY * passed:
            self._allowance = self._most
