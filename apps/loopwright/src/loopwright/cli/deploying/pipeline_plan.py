"""`loopwright deployments plan --file`: a pipeline file's policy before it is committed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from loopwright.output import Column, console, show_items, show_json

if TYPE_CHECKING:
    from loopwright_common.deploy_policy import DeployPolicy

PLAN: list[Column] = ["state", "done", "sentence"]
Steps = Sequence[dict[str, Any]]


def show_plan(file: Path, *, as_json: bool) -> None:
    """What each version of a pipeline will go through; FileError with all that is wrong."""
    from loopwright_trainer.pipelines.file_faults import FileError

    try:
        policy = read_policy_file(file)
    except FileError as error:
        if not as_json:
            raise
        show_json({"faults": [fault._asdict() for fault in error.faults]})
        raise typer.Exit(1) from None
    later, first = _steps(policy, "the champion"), _steps(policy, None)
    if as_json:
        default = policy is None
        show_json({"steps": later, "first_version": first, "default_policy": default})
        return
    if policy is None:
        console.print(f"{file} has no `deploy:`; this is the default policy", markup=False)
    show_items(later, PLAN, as_json=False)
    console.print("\na model's first version, which has no champion beside it:", markup=False)
    show_items(_differences(later, first), ["state", "sentence"], as_json=False)


def read_policy_file(file: Path) -> "DeployPolicy | None":
    """What a pipeline file says under `deploy:`; FileError with all that is wrong with it.

    A `dvc.yaml` says nothing of it: None where it stands alone, and refused beside the file that
    is read in its place.
    """
    from loopwright_trainer.pipelines.file_faults import FileError, FileFault
    from loopwright_trainer.pipelines.pipeline_file import DVC_FILE, FILE, read_deploy_policy
    from loopwright_trainer.pipelines.yaml_source import MAX_FILE_BYTES

    alone = file.name == DVC_FILE
    if alone and file.with_name(FILE).exists():
        sentence = f"says nothing of deploying; name the {FILE} that is beside it"
        raise FileError([FileFault(str(file), sentence)])
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        sentence = "there is no such file; `loopwright init` writes an example"
    except IsADirectoryError:
        sentence = "is a directory; name the file in it, such as loopwright.yaml"
    except OSError as error:
        sentence = f"cannot be read: {error.strerror}"
    else:
        return None if alone else read_deploy_policy(content, str(file))
    raise FileError([FileFault(str(file), sentence)])


def _steps(policy: "DeployPolicy | None", champion: str | None) -> Steps:
    from loopwright_common.deploy_policy import DeployPolicy
    from loopwright_deployer.plan import plan

    states = plan(policy or DeployPolicy(), champion)
    return [{**step._asdict(), "done": False} for step in states]


def _differences(later: Steps, first: Steps) -> Steps:
    """The states in which something else happens to a first version than to a later one."""
    by_state = {step["state"]: step["sentence"] for step in first}
    return [
        {"state": step["state"], "sentence": by_state.get(step["state"], "left out")}
        for step in later
        if by_state.get(step["state"]) != step["sentence"]
    ]
