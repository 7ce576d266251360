"""The proxies through which an operator has others asked, as the usual variables name them."""

import base64
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from loopwright_common.egress.socks_client import ask
from loopwright_common.errors import InvalidError

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}
_LONGEST_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Proxy:
    """One that is asked by `CONNECT`, or by SOCKS 5; names are resolved where it stands."""

    host: str
    port: int
    socks: bool = False
    authorization: str = field(default="", repr=False)

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """A connection through it; OSError, with its answer, where it has none to give."""
        there = socket.create_connection((self.host, self.port), timeout)
        try:
            if self.socks:
                ask(there, host, port)
            else:
                self._ask_for_tunnel(there, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except BaseException:
            there.close()
            raise
        return there

    def _ask_for_tunnel(self, there: socket.socket, target: str) -> None:
        head = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.authorization:
            head.append(f"Proxy-Authorization: {self.authorization}")
        there.sendall("\r\n".join([*head, "", ""]).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            byte = there.recv(1)  # what follows the head is not ours to read
            if not byte or len(answer) > _LONGEST_HEAD:
                raise ConnectionError(f"the proxy {self.host}:{self.port} gave no answer")
            answer += byte
        status = answer.partition(b"\r\n")[0].decode("ascii", "replace").partition(" ")[2]
        if not status.startswith("2"):
            raise ConnectionError(f"the proxy {self.host}:{self.port} answered {status}")


@dataclass(frozen=True, slots=True)
class Proxies:
    """Those for plain HTTP and for all else, and the hosts that are asked without one."""

    plain: Proxy | None = None
    other: Proxy | None = None
    exempt: tuple[str, ...] = ()

    def choose(self, host: str, *, plain: bool) -> Proxy | None:
        """The proxy for the host, None where it is asked itself."""
        proxy = self.plain if plain else self.other
        return None if any(_is_meant(host, entry) for entry in self.exempt) else proxy


def named_proxies(environment: Mapping[str, str]) -> Proxies:
    """Those of the variables, in small letters first; InvalidError for one that is not spoken."""
    exempt = _value(environment, "NO_PROXY")[1].replace(",", " ").lower().split()
    return Proxies(
        _named(environment, "HTTP_PROXY", "ALL_PROXY"),
        _named(environment, "HTTPS_PROXY", "ALL_PROXY"),
        tuple(exempt),
    )


def _value(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of the variables that says something, and what."""
    spelled = [spelling for name in names for spelling in (name.lower(), name)]
    said = ((name, environment.get(name, "").strip()) for name in spelled)
    return next(((name, text) for name, text in said if text), ("", ""))


def _named(environment: Mapping[str, str], *names: str) -> Proxy | None:
    variable, text = _value(environment, *names)
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise _not_spoken(variable) from None
    if not parts.hostname or (parts.scheme != "http" and parts.username is not None):
        raise _not_spoken(variable)
    return Proxy(parts.hostname, port, parts.scheme != "http", _authorization(parts))


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(secret.encode()).decode()}"


def _not_spoken(variable: str) -> InvalidError:
    return InvalidError(
        f"{variable}: give a proxy as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, or one of"
        " SOCKS as socks5h://HOST:PORT",
        field=variable,
    )


def _is_meant(host: str, entry: str) -> bool:
    """Whether an entry of `NO_PROXY` means the host: a name with all below it, or addresses."""
    if entry == "*":
        return True
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        name = entry.strip(".")
        return host == name or host.endswith(f".{name}")
    try:
        return ip_address(host) in network
    except ValueError:
        return False
