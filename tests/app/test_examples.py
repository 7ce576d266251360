"""`loopwright init` writes a repository that is a starting point."""

import subprocess
from pathlib import Path

import pytest
import yaml

from loopwright.examples import Example, write_example
from loopwright_common.deploy_policy import CanaryPolicy, DeployPolicy, DriftTrigger
from loopwright_common.errors import ConflictError


@pytest.mark.parametrize("example", list(Example))
def test_every_stage_depends_on_files_that_are_there_or_made_before(
    example: Example, tmp_path: Path
) -> None:
    write_example(example, tmp_path / "new", git=False)
    pipeline = yaml.safe_load((tmp_path / "new" / "loopwright.yaml").read_text())
    made = {pipeline.get("captured")}
    for stage in pipeline["stages"].values():
        for dep in stage["deps"]:
            assert dep in made or (tmp_path / "new" / dep).exists()
        made |= set(stage.get("outs", []))
    assert pipeline["register"]["package"] in made


def test_the_policies_of_the_bank_are_valid(tmp_path: Path) -> None:
    write_example(Example.BANK, tmp_path / "bank", git=False)
    pipeline = yaml.safe_load((tmp_path / "bank" / "loopwright.yaml").read_text())
    deploy = DeployPolicy.model_validate(pipeline["deploy"])
    drift = DriftTrigger.model_validate(pipeline["triggers"]["drift"])
    assert (deploy.keep, drift.min_new_labels) == (8, 6_000)
    assert deploy.canary == CanaryPolicy()


def test_the_first_commit_holds_everything_but_our_own_files(tmp_path: Path) -> None:
    commit = write_example(Example.BANK, tmp_path / "bank")
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD"],
        cwd=tmp_path / "bank",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert commit is not None
    assert {".gitignore", "loopwright.yaml", "data/base.csv.gz", "data/README.md"} <= set(listed)
    assert "__init__.py" not in listed


def test_a_directory_with_files_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError, match="not empty"):
        write_example(Example.DIGITS, tmp_path)
