"""How many requests a second each client address may send."""

import ipaddress

_KNOWN = 4096
"""Addresses that are remembered; of more, those that have been quiet are forgotten."""
_LOOK_SECONDS = 1.0
_BURST_SECONDS = 2.0


class ClientRate:
    """The requests of one address: `rate` a second, and that of two seconds at once.

    They are counted by when the next one would be due if they came evenly (GCRA, as in ITU-T
    I.371).
    """

    __slots__ = ("_due", "_interval", "open_at")

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._due = 0.0
        self.open_at = 0.0
        """When the next request may come, on the clock of those that were counted."""

    def wait(self, now: float) -> float:
        """Seconds until a request may come; 0 when it may now."""
        return max(0.0, self.open_at - now)

    def count(self, now: float, requests: int = 1) -> None:
        """Requests have come until `now`, in seconds of any clock."""
        self._due = max(self._due, now) + requests * self._interval
        self.open_at = self._due - _BURST_SECONDS

    def is_quiet(self, now: float) -> bool:
        return self._due <= now


class ClientRates:
    """The rates of all addresses; of IPv6, a network of /64 counts as one client."""

    def __init__(self, rate: float = 1000.0) -> None:
        """`rate`: requests a second of each."""
        self._rate = rate
        self._clients: dict[str, ClientRate] = {}
        self._looked = -_LOOK_SECONDS

    def of(self, host: str, now: float) -> ClientRate:
        """What the client at this address may send; `now` in seconds of any clock."""
        client = _network(host)
        rate = self._clients.get(client)
        if rate is None:
            if len(self._clients) >= _KNOWN:
                self._make_room(now)
            rate = self._clients[client] = ClientRate(self._rate)
        return rate

    def _make_room(self, now: float) -> None:
        """Looking at all of them is for once a second: whoever has many addresses asks often."""
        if now - self._looked >= _LOOK_SECONDS:
            self._looked, known = now, self._clients
            self._clients = {one: rate for one, rate in known.items() if not rate.is_quiet(now)}
        if len(self._clients) >= _KNOWN:
            # Where none is quiet, the one that has been known longest makes room.
            del self._clients[next(iter(self._clients))]


def _network(host: str) -> str:
    if ":" not in host:
        return host
    return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
