"""Through the proxies of an operator: which, for whom, and what it says to others."""

import base64

import pytest

from loopwright_common.egress.guard import EgressGuard
from loopwright_common.egress.proxies import Proxies, Proxy, named_proxies
from loopwright_common.egress.rules import EgressRules, RefusedAddressError
from loopwright_common.errors import InvalidError
from tests.common.egress.echo import echoing
from tests.proxies import connect_proxy


def said_back(rules: EgressRules, host: str, port: int) -> bytes:
    with rules.connect(host, port) as there:
        there.sendall(b"said")
        return there.recv(4)


def test_an_http_proxy_is_asked_by_name_with_what_the_operator_said_who_asks() -> None:
    with echoing() as (port, _), connect_proxy({"name.test:443": f"127.0.0.1:{port}"}) as proxy:
        url = proxy.url.replace("//", "//us%40er:pass%3Aword@")
        rules = EgressRules(proxies=named_proxies({"HTTPS_PROXY": url}))
        assert said_back(rules, "name.test", 443) == b"said"
    assert proxy.asked == ["name.test:443"]
    assert proxy.credentials == ["Basic " + base64.b64encode(b"us@er:pass:word").decode()]
    assert "word" not in repr(rules)


def test_a_socks_proxy_is_asked_by_name() -> None:
    """One of our own is one, for which the name means something."""
    with echoing() as (port, _):
        named = EgressRules(hosts={("name.test", port): "https"}, resolver=lambda *_: ["127.0.0.1"])
        with EgressGuard(named) as upstream:
            ours = named_proxies({"all_proxy": f"socks5h://127.0.0.1:{upstream.port}"})
            assert said_back(EgressRules(proxies=ours), "name.test", port) == b"said"
            with pytest.raises(ConnectionRefusedError):
                said_back(EgressRules(proxies=ours), "other.test", port)
        assert upstream.refused == [f"other.test:{port}"]


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "::ffff:127.0.0.1", "169.254.169.254"])
def test_no_private_address_is_asked_of_a_proxy(host: str) -> None:
    with connect_proxy({}) as proxy, pytest.raises(RefusedAddressError):
        EgressRules(proxies=named_proxies({"ALL_PROXY": proxy.url})).connect(host, 80)
    assert proxy.asked == []


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_what_a_proxy_answers_is_told(status: str) -> None:
    with connect_proxy({}, status) as proxy:
        rules = EgressRules(proxies=named_proxies({"ALL_PROXY": proxy.url}))
        with pytest.raises(ConnectionError, match=f"answered {status}") as told:
            rules.connect("name.test", 443)
    assert not isinstance(told.value, RefusedAddressError)


def test_each_scheme_has_its_proxy() -> None:
    proxies = named_proxies({"http_proxy": "plain.test", "HTTPS_PROXY": "http://other.test:3128"})
    assert proxies == Proxies(Proxy("plain.test", 80), Proxy("other.test", 3128))
    with connect_proxy({}) as plain, connect_proxy({}, "503 Later") as other:
        rules = EgressRules(
            hosts={("index.test", 8080): "http"},
            proxies=named_proxies({"HTTP_PROXY": plain.url, "ALL_PROXY": other.url}),
        )
        for host, port in (("a.test", 80), ("index.test", 8080), ("b.test", 8080), ("c.test", 443)):
            try:
                rules.connect(host, port).close()
            except ConnectionError:
                continue
    assert (plain.asked, other.asked) == (
        ["a.test:80", "index.test:8080"],
        ["b.test:8080", "c.test:443"],
    )


@pytest.mark.parametrize(
    ("entries", "host", "exempt"),
    [
        ("corp.test", "corp.test", True),
        ("corp.test", "pypi.corp.test", True),
        (".corp.test", "pypi.corp.test", True),
        ("corp.test", "notcorp.test", False),
        ("CORP.test, x", "corp.test", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "name.test", False),
        ("::1", "::1", True),
        ("*", "name.test", True),
        ("", "name.test", False),
    ],
)
def test_who_is_asked_without_a_proxy(entries: str, host: str, exempt: bool) -> None:
    proxies = named_proxies({"ALL_PROXY": "proxy.test:1", "NO_PROXY": entries})
    assert (proxies.choose(host, plain=False) is None) is exempt


@pytest.mark.parametrize(
    "url",
    [
        "https://s3cret@proxy.test:443",
        "socks4://proxy.test",
        "socks5://s3cret:s3cret@proxy.test:1080",
        "http://proxy.test:s3cret",
        "http://[s3cret",
        "http://",
    ],
)
def test_a_proxy_that_is_not_spoken_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidError, match="HTTPS_PROXY: give a proxy as http") as refused:
        named_proxies({"HTTPS_PROXY": url})
    assert "s3cret" not in str(refused.value)


def test_a_variable_that_another_outdoes_is_not_read() -> None:
    both = {"http_proxy": "a.test:1", "HTTPS_PROXY": "a.test:1", "ALL_PROXY": "https://b.test"}
    assert named_proxies(both) == Proxies(Proxy("a.test", 1), Proxy("a.test", 1))
