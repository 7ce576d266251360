"""The memory of a process."""

from pathlib import Path


def pss(pid: int) -> float:
    """MiB; pages shared by several processes are split between them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
