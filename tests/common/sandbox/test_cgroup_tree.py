"""Where cgroups are and may be made: read from the kernel's texts, and tried in version 2."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from loopwright_common.sandbox.cgroup_tree import (
    CONTROLLERS,
    find_groups,
    own_group,
    parent_for_groups,
)

V1 = "39 31 0:36 {root} /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{name}"
V2 = "41 31 0:38 {root} {mounted} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
# Joins the group, and asks where it may make others, twice; then joins one that it makes.
JOIN_AND_ASK = """
import sys
from pathlib import Path
from loopwright_common.sandbox.cgroup_tree import own_group, parent_for_groups
controller, group = sys.argv[1], Path(sys.argv[2])
(group / "cgroup.procs").write_text("0")
print(parent_for_groups(controller))
print(own_group(controller).directory)
print(parent_for_groups(controller))
(group / "made").mkdir()
(group / "made" / "cgroup.procs").write_text("0")
print(own_group(controller).directory)
print(any(file.name.startswith(controller) for file in (group / "made").iterdir()))
"""


@pytest.mark.parametrize(
    ("groups", "mounts", "found"),
    [
        ("4:memory:/a/b", V1.format(root="/", name="memory"), (1, "memory/a/b", "memory")),
        (
            "4:cpu,memory:/docker/x",
            V1.format(root="/docker/x", name="memory"),
            (1, *["memory"] * 2),
        ),
        ("4:memory:/other", V1.format(root="/docker/x", name="memory"), None),
        ("4:memory:/", V1.format(root="/", name="pids"), None),
        ("0::/s/t.service", V2.format(root="/", mounted="/sys/fs/cgroup"), (2, "s/t.service", "")),
        ("0::/", V2.format(root="/", mounted="/sys/fs/cgroup"), (2, "", "")),
        ("0::/../x", V2.format(root="/y", mounted="/sys/fs/cgroup"), None),
        (
            "8:pids:/\n0::/u",
            "\n".join(
                (
                    V1.format(root="/", name="pids"),
                    V2.format(root="/", mounted="/sys/fs/cgroup/unified"),
                )
            ),
            (2, "unified/u", "unified"),
        ),
        ("8:memory:/\n0::/u", V2.format(root="/", mounted="/sys/fs/cgroup/unified"), None),
    ],
)
def test_our_group_is_where_the_kernel_says(
    groups: str, mounts: str, found: tuple[int, str, str] | None
) -> None:
    own = [(own.version, own.directory, own.top) for own in find_groups("memory", groups, mounts)]
    root = Path("/sys/fs/cgroup")
    assert own == ([(found[0], root / found[1], root / found[2])] if found else [])


def test_of_two_mounts_the_last_is_looked_at_first() -> None:
    mounts = "\n".join(V1.format(root=root, name="memory") for root in ("/", "/docker/x"))
    own = find_groups("memory", "4:memory:/docker/x/y", mounts)
    assert [str(each.directory) for each in own] == [
        "/sys/fs/cgroup/memory/y",
        "/sys/fs/cgroup/memory/docker/x/y",
    ]


@pytest.fixture
def unified() -> Iterator[tuple[str, Path]]:
    """A controller of version 2, and a group of ours to which it is delegated."""
    for controller in (*CONTROLLERS, "hugetlb", "misc", "rdma", "io", "cpu"):
        with suppress(OSError):
            if own_group(controller).version == 2:
                group = Path(tempfile.mkdtemp(prefix="test-", dir=parent_for_groups(controller)))
                break
    else:
        pytest.skip("we may make no groups of version 2 that have a controller")
    yield controller, group
    for child in (group / "made", group / "loopwright-services", group):
        with suppress(FileNotFoundError):
            child.rmdir()


def test_in_version_2_we_move_into_a_child_and_make_groups_beside_it(
    unified: tuple[str, Path],
) -> None:
    controller, group = unified
    with subprocess.Popen(["/bin/sleep", "600"]) as neighbour:
        (group / "cgroup.procs").write_text(str(neighbour.pid))
        asked = subprocess.run(
            [sys.executable, "-c", JOIN_AND_ASK, controller, str(group)],
            capture_output=True,
            text=True,
            check=False,
        )
        moved = Path(f"/proc/{neighbour.pid}/cgroup").read_text()
        neighbour.kill()
    assert asked.stdout.splitlines() == [
        str(group),
        str(group / "loopwright-services"),
        str(group),
        str(group / "made"),
        "True",
    ], asked.stderr
    assert f"{group.name}/loopwright-services\n" in moved


def test_what_is_not_delegated_is_left_alone(unified: tuple[str, Path]) -> None:
    """A controller that the group has not, which only whoever made the group could change."""
    _, group = unified
    asked = subprocess.run(
        [sys.executable, "-c", JOIN_AND_ASK, "no-such-controller", str(group)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"the controller is not delegated: '{group}'" in asked.stderr
    assert not (group / "loopwright-services").exists()
