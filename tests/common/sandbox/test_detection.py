"""The strongest level is found by trying; less than the minimum is refused with the reason."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loopwright_common.sandbox import Level, Policy, SandboxTooWeakError, detect, require
from tests.common.sandbox.commands import as_ordinary_user

SHOW = """
from loopwright_common.sandbox import detect
found = detect()
print(found.level, found.own_users, found.landlock, found.why_not_more)
"""


def test_levels_are_ordered() -> None:
    ranks = [level.rank for level in (Level.NONE, Level.PROCESS, Level.CONTAINER, Level.NAMESPACE)]
    assert ranks == sorted(ranks)


def test_less_than_the_minimum_is_refused_with_reason_and_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weak = detect(Level.PROCESS)
    monkeypatch.setattr("loopwright_common.sandbox.detection.detect", lambda: weak)
    assert require(Level.PROCESS) is weak
    with pytest.raises(
        SandboxTooWeakError, match=r"at least namespace is required.*LOOPWRIGHT_SANDBOX_MINIMUM"
    ):
        require(Level.NAMESPACE)


def test_where_namespaces_are_forbidden_it_is_a_process_with_landlock(tmp_path: Path) -> None:
    """A sandboxed process may make none, which is how a hardened container looks from inside."""
    outer = detect(Level.PROCESS)
    policy = Policy(writable=(tmp_path.resolve(),))
    completed = subprocess.run(
        outer.wrap([sys.executable, "-c", SHOW], policy),
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    level, _, landlock, why = completed.stdout.strip().split(" ", 3)
    assert level == "process"
    assert landlock == str(outer.landlock)
    assert "namespace" in why


@pytest.mark.skipif(os.getuid() != 0, reason="becoming an ordinary user takes root")
def test_an_ordinary_user_has_namespaces_too() -> None:
    """Or is told by the kernel why not; of cgroups too, which it may not make."""
    bubblewrap = detect().bubblewrap
    if bubblewrap is None:
        pytest.skip("this machine permits no namespaces")
    command = [*as_ordinary_user(bubblewrap), sys.executable, "-I", "-c", SHOW]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    level, own_users, _, why = completed.stdout.rstrip("\n").split(" ", 3)
    assert own_users == "False"
    assert level == "namespace" or "namespace:" in why
    assert "cgroups of memory" in why
