"""uv has no network but a guard's: it reaches the operator's indexes, and nothing private else."""

import socket
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import uv

from loopwright_common.egress.addresses import parse_allowed
from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.sandbox import Level, Sandbox, detect
from loopwright_scorer.isolated import environment_builder
from loopwright_scorer.isolated.environment_builder import MEMORY
from loopwright_scorer.isolated.environments import EnvironmentCache
from tests.package_index import Index, package_index
from tests.proxies import connect_proxy

FILE = "greeting-1.0-py3-none-any.whl"
NEWER = "greeting-2.0-py3-none-any.whl"
OWN_HOSTS = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0"]
NAMED = ["UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE"]
# Tells what comes of asking a port by itself, and by the proxy that it was told of.
INTRUDER = """#!{python} -I
import os, socket, sys
def outcome(*address):
    try:
        there = socket.create_connection(address, 20)
        there.sendall(b"\\x05\\x01\\x00\\x05\\x01\\x00\\x01" + bytes((127, 0, 0, 1)) + PORT)
        return "answered " + str(there.recv(2) + there.recv(10))
    except OSError as error:
        return type(error).__name__
PORT = ({port}).to_bytes(2, "big")
guard = int(os.environ["ALL_PROXY"].rpartition(":")[2])
print("itself", outcome("127.0.0.1", {port}), "guard", outcome("127.0.0.1", guard), file=sys.stderr)
sys.exit(1)
"""


GREEDY = """#!{python} -I
import os, sys
had = []
try:
    had.append(bytearray({alone}))
    print("had its fill", file=sys.stderr)
except MemoryError:
    print("had no more", file=sys.stderr)
for _ in range({others}):
    if os.fork() == 0:
        had.append(b"." * {each})
        os.read(os.pipe()[0], 1)
{wait}
sys.exit(1)
"""


@pytest.fixture(params=[Level.NAMESPACE, Level.PROCESS], ids=str)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    found = detect(request.param)
    if found.level is not request.param:
        pytest.skip(f"this machine permits no more than {found.level}: {found.why_not_more}")
    return found


@pytest.fixture
def stranger() -> Generator[socket.socket, None, None]:
    """A port of this machine that nobody named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def nobody_came(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def build(
    tmp_path: Path,
    requirement: str = "greeting",
    sandbox: Sandbox | None = None,
    access: IndexAccess | None = None,
) -> Path:
    """The module of the requirement, where it was installed."""
    cache = EnvironmentCache(
        tmp_path / "environments", sandbox or detect(), access or IndexAccess()
    )
    environment = cache.acquire([requirement], None)
    environment.release()
    return next(environment.python.parents[1].glob("lib/*/site-packages/greeting.py"))


@pytest.mark.usefixtures("index")
def test_uv_reaches_the_operators_index(sandbox: Sandbox, tmp_path: Path) -> None:
    assert build(tmp_path, sandbox=sandbox).is_file()


@pytest.mark.parametrize("name", NAMED)
def test_whatever_variable_names_the_index(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = tmp_path / "uv.toml"
    file.write_text(f'[[index]]\nurl = "{index.url}"\n')
    values = {
        "UV_INDEX": f"ours={index.url}",
        "UV_FIND_LINKS": f"{index.url}/greeting/",
        "UV_CONFIG_FILE": str(file),
    }
    empty = tmp_path / "empty"
    empty.mkdir()
    with package_index(empty) as other:
        monkeypatch.setenv("UV_DEFAULT_INDEX", other.url)
        if name == "UV_INDEX_URL":
            monkeypatch.delenv("UV_DEFAULT_INDEX")
        monkeypatch.setenv(name, values.get(name, index.url))
        assert build(tmp_path).is_file()


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_no_link_leads_to_another_port_of_this_machine(
    index: Index, tmp_path: Path, stranger: socket.socket, host: str
) -> None:
    index.links["greeting"] = f"http://{host}:{port_of(stranger)}/{NEWER}"
    with pytest.raises(InvalidError, match=r"no public address.*LOOPWRIGHT_INDEX_ADDRESSES"):
        build(tmp_path)
    assert nobody_came(stranger)


def test_a_name_that_says_something_else_when_it_is_asked_again_leads_nowhere(
    index: Index, tmp_path: Path, stranger: socket.socket
) -> None:
    answers = iter([["10.0.0.1", "::1"], ["127.0.0.1"]])
    index.links["greeting"] = f"http://rebound.test:{port_of(stranger)}/{NEWER}"
    access = IndexAccess(resolver=lambda host, _: next(answers) if "test" in host else [host])
    for _ in range(2):
        with pytest.raises(InvalidError, match=r"rebound\.test:\d+ may not be asked"):
            build(tmp_path, access=access)
    assert (next(answers, None), nobody_came(stranger)) == (None, True)


@pytest.mark.parametrize("how", ["link", "redirected page", "redirected file", "requirement"])
def test_nothing_that_others_say_leads_to_a_private_address(
    sandbox: Sandbox, index: Index, tmp_path: Path, stranger: socket.socket, how: str
) -> None:
    where = f"127.0.0.1:{port_of(stranger)}"
    requirement = "greeting"
    if how == "link":
        index.links["greeting"] = f"http://{where}/{NEWER}"
    elif how == "requirement":
        requirement = f"greeting @ http://{where}/{FILE}"
    else:
        name = "greeting" if how == "redirected page" else FILE
        index.redirects[name] = f"http://{where}/{FILE}"
    with pytest.raises(InvalidError, match=f"{where} may not be asked.*greeting") as refused:
        build(tmp_path, requirement, sandbox)
    assert "cannot be reached" not in str(refused.value)
    assert nobody_came(stranger)


@pytest.mark.parametrize("where", ["169.254.169.254:80", "10.255.255.1:8443", "[fd00::1]:443"])
def test_no_other_machine_of_the_operators_network_is_asked(
    index: Index, tmp_path: Path, where: str
) -> None:
    index.links["greeting"] = f"http://{where}/{NEWER}"
    with pytest.raises(InvalidError) as refused:
        build(tmp_path)
    assert f"{where} may not be asked" in str(refused.value)


def test_another_name_of_the_same_address_is_not_the_index(index: Index, tmp_path: Path) -> None:
    """Where several share one address, the name says which is meant."""
    port = index.host.partition(":")[2]
    index.links["greeting"] = f"http://other.test:{port}/{FILE}"
    access = IndexAccess(resolver=lambda *_: ["127.0.0.1"])
    with pytest.raises(InvalidError, match=f"other.test:{port} may not be asked"):
        build(tmp_path, access=access)


def test_an_operator_allows_where_an_index_links_to(index: Index, tmp_path: Path) -> None:
    with package_index(index.wheels) as files:
        index.links["greeting"] = f"http://{files.host}/{FILE}"
        build(tmp_path, access=IndexAccess(parse_allowed(files.host, "")))
        assert files.asked


def test_what_runs_in_uvs_place_has_no_network(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stranger: socket.socket
) -> None:
    intruder = tmp_path / "uv"
    intruder.write_text(INTRUDER.format(python=sys.executable, port=port_of(stranger)))
    intruder.chmod(0o755)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(intruder))
    with pytest.raises(InvalidError, match=r"itself \w+Error guard answered") as told:
        build(tmp_path, sandbox=sandbox)
    assert f"127.0.0.1:{port_of(stranger)} may not be asked" in str(told.value)
    assert nobody_came(stranger)


def test_memory_of_uv_has_a_limit(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy(tmp_path, monkeypatch, alone=MEMORY)
    with pytest.raises(InvalidError, match="had no more"):
        build(tmp_path, sandbox=sandbox)


def test_memory_of_all_that_uv_starts_has_a_limit(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sandbox.cgroups is None or sandbox.cgroups.memory is None:
        pytest.skip(f"this machine gives us no cgroups of memory: {sandbox.why_not_more}")
    monkeypatch.setattr(environment_builder, "MEMORY", 256 << 20)
    greedy(tmp_path, monkeypatch, alone=0, others=6, each=64 << 20)
    with pytest.raises(InvalidError, match="uv ran out of memory, of which it may have 256 MiB"):
        build(tmp_path, sandbox=sandbox)


def greedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **takes: int) -> None:
    """In uv's place, what takes memory by itself and by others that it starts."""
    program = tmp_path / "uv"
    takes = {"others": 0, "each": 0, **takes}
    wait = "os.wait()" if takes["others"] else ""
    program.write_text(GREEDY.format(python=sys.executable, wait=wait, **takes))
    program.chmod(0o755)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(program))


def test_uv_asks_through_the_operators_proxy(
    sandbox: Sandbox, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a name that means something only there."""
    with connect_proxy({"index.test:80": index.host}) as proxy:
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://index.test/simple")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        build(tmp_path, sandbox=sandbox)
    assert set(proxy.asked) == {"index.test:80"}


def test_through_the_proxy_no_private_address_is_asked(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stranger: socket.socket
) -> None:
    index.links["greeting"] = f"http://127.0.0.1:{port_of(stranger)}/{NEWER}"
    with connect_proxy({}) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        with pytest.raises(InvalidError, match="may not be asked"):
            build(tmp_path)
    assert proxy.asked == [index.host]
    assert nobody_came(stranger)


def test_what_the_proxy_answers_is_told(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy({}, status="407 Proxy Authentication Required") as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:s3cret@{proxy.url.removeprefix('http://')}")
        with pytest.raises(UnavailableError, match="answered 407 Proxy Auth") as told:
            build(tmp_path)
    assert "s3cret" not in str(told.value)
    assert index.asked == 0


def test_hosts_in_no_proxy_are_asked_themselves(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy({}) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "corp.test,127.0.0.0/8")
        build(tmp_path)
    assert (proxy.asked, index.asked > 0) == ([], True)
