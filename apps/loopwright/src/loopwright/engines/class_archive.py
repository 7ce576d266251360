"""An archive of Kafka's classes: with it, a broker starts on little more than half the work.

The Java runtime from the wheel brings no archive, not even of its own classes, so that every start
reads, checks and links thousands of them.
"""

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from loopwright.engines.jars import fetch_jars, locked
from loopwright.engines.kafka import Kafka, class_archive, java_command
from loopwright.engines.program import RunningProgram
from loopwright_common.errors import UnavailableError


def make_class_archive() -> Path:
    """Make it unless it is here: one process does, and others wait.

    It gets its name when it is whole. Raises UnavailableError where it cannot be made.
    """
    archive, jars = class_archive(), fetch_jars()
    try:
        with (
            locked(jars.with_name(f"{jars.name}.archiving"), "archiving Kafka's classes"),
            tempfile.TemporaryDirectory(prefix="loopwright-") as directory,
        ):
            if not archive.exists():
                partial = archive.with_suffix(".partial")
                _dump(_loaded_classes(Path(directory)), partial)
                partial.rename(archive)
    except OSError as error:
        raise UnavailableError(f"Kafka's classes cannot be kept in {jars} ({error})") from None
    return archive


def _loaded_classes(directory: Path) -> Path:
    """The list of what a broker loads until it is up."""
    listed = directory / "classes"
    program = Kafka(directory / "kafka").program()
    java, *rest = program.command
    command = (java, f"-XX:DumpLoadedClassList={listed}", *rest)
    RunningProgram(replace(program, command=command)).stop()
    return listed


def _dump(listed: Path, archive: Path) -> None:
    java, *rest = java_command()
    options = (
        *("-Xshare:dump", f"-XX:SharedClassListFile={listed}"),
        f"-XX:SharedArchiveFile={archive}",
    )
    done = subprocess.run([java, *options, *rest], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-2000:]
        raise UnavailableError(f"Kafka's classes were not archived:\n{output}")
