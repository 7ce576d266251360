"""Which hosts an operator names by uv's variables."""

from pathlib import Path

import pytest

from loopwright_common.egress.index_access import IndexAccess, index_access
from loopwright_common.errors import InvalidError

PYPI = {("pypi.org", 443): "https", ("files.pythonhosted.org", 443): "https"}
OURS = {"UV_DEFAULT_INDEX": "https://index.test/simple"}
INDEX = {("index.test", 443): "https"}


@pytest.mark.parametrize(
    ("variables", "hosts"),
    [
        ({}, PYPI),
        (OURS, INDEX),
        ({"UV_INDEX_URL": "https://index.test"}, INDEX),
        ({"UV_DEFAULT_INDEX": "https://pypi.org/simple"}, PYPI),
        ({"UV_DEFAULT_INDEX": ""}, PYPI),
        ({"UV_DEFAULT_INDEX": "/wheels"}, {}),
        (
            {"UV_DEFAULT_INDEX": "https://user:word@INDEX.test.:8443/x"},
            {("index.test", 8443): "https"},
        ),
        (
            OURS | {"UV_INDEX": "a=http://10.0.0.1/x b=http://[0::1]:81"},
            INDEX | {("10.0.0.1", 80): "http", ("::1", 81): "http"},
        ),
        (
            OURS | {"UV_FIND_LINKS": "http://a.test/x,/wheels,HTTPS://b.test"},
            INDEX | {("a.test", 80): "http", ("b.test", 443): "https"},
        ),
        (
            OURS | {"UV_PYTHON_INSTALL_MIRROR": "https://mirror.test/x"},
            INDEX | {("mirror.test", 443): "https"},
        ),
        (OURS | {"UV_INDEX": "http://bad.test:port/x"}, INDEX),
        (OURS | {"PIP_INDEX_URL": "http://a.test", "OTHER": "http://b.test"}, INDEX),
    ],
)
def test_the_hosts_of_its_variables(
    variables: dict[str, str], hosts: dict[tuple[str, int], str]
) -> None:
    assert IndexAccess().rules(variables).hosts == hosts


def test_the_hosts_of_its_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "uv.toml"
    file.write_text("""
        # not http://comment.test
        find-links = ["http://a.test:81/x", "/wheels"]
        [[index]]
        name = "ours"
        url = "https://b.test/simple"
        [pip]
        extra-index-url = ["https://c.test"]
    """)
    hosts = IndexAccess().rules(OURS | {"UV_CONFIG_FILE": str(file)}).hosts
    assert set(hosts) == {
        ("index.test", 443),
        ("a.test", 81),
        ("b.test", 443),
        ("c.test", 443),
    }


@pytest.mark.parametrize("name", ["http-proxy", "https-proxy", "no-proxy"])
def test_a_proxy_in_its_settings_file_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    file = tmp_path / "uv.toml"
    file.write_text(f'{name} = "http://proxy.test"')
    with pytest.raises(InvalidError, match=f"UV_CONFIG_FILE: {name}.*HTTPS_PROXY"):
        index_access("", {"UV_CONFIG_FILE": str(file)})


def test_a_settings_file_that_does_not_read_is_left_to_uv(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text("[[[")
    for file in ("uv.toml", "nowhere.toml"):
        rules = IndexAccess().rules(OURS | {"UV_CONFIG_FILE": str(tmp_path / file)})
        assert rules.hosts == INDEX


def test_what_is_no_address_or_no_proxy_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidError, match=r"10\.1\.0\.0/16") as refused:
        index_access("10.1.0.0/64", {})
    assert refused.value.field == "LOOPWRIGHT_INDEX_ADDRESSES"
    with pytest.raises(InvalidError, match="ALL_PROXY"):
        index_access("", {"ALL_PROXY": "https://proxy.test"})
