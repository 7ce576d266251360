"""The archive of Kafka's classes: used where it is whole, and never needed."""

import subprocess
from pathlib import Path

import pytest

from loopwright.engines.class_archive import make_class_archive
from loopwright.engines.jars import jars_directory
from loopwright.engines.kafka import class_archive, java_command


def run_kafkas_tool(*options: str) -> subprocess.CompletedProcess[str]:
    java, *rest = java_command()
    command = [java, *rest[:-2], *options, *rest[-2:], "kafka.tools.StorageTool", "random-uuid"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_kafka_starts_from_the_archive_that_was_made() -> None:
    archive = make_class_archive()
    assert f"-XX:SharedArchiveFile={archive}" in java_command()
    done = run_kafkas_tool("-Xshare:on")
    assert done.returncode == 0, done.stdout


def test_kafka_starts_with_a_damaged_archive_and_with_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, jars = make_class_archive().read_bytes(), jars_directory()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jars_directory().mkdir(parents=True)
    for jar in jars.glob("*.jar"):
        (jars_directory() / jar.name).symlink_to(jar)
    assert not class_archive().exists()
    assert not any("SharedArchiveFile" in word for word in java_command())

    middle = len(whole) // 2
    class_archive().write_bytes(whole[:middle] + bytes(10_000_000) + whole[middle + 10_000_000 :])
    assert run_kafkas_tool("-Xshare:on").returncode != 0
    assert run_kafkas_tool().returncode == 0
