"""`loopwright deployments plan --file` before a commit, with no service in reach."""

import json
from pathlib import Path

import pytest

from tests.app.conftest import Run

WEEK = "{days: [mon, tue, wed, thu, fri, sat, sun]"
pytestmark = pytest.mark.usefixtures("no_services")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "loopwright.yaml"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("canary: {max_time: 50us}", "4:4: deploy.canary.max_time: '50us' is no duration; write"),
        ("canary: {max_time: 0s}", "4:4: deploy.canary.max_time: has to be more than 0s"),
        ("canary: {margin: .inf}", "4:4: deploy.canary.margin: has to be less than 1"),
        ("canary: {error_ratio: .inf}", "4:4: deploy.canary.error_ratio: has to be a finite"),
        ("canary: {steps: []}", "4:4: deploy.canary.steps: needs at least 1"),
        (
            "canary: {steps: [{weight: 10%}]}",
            "4:13: deploy.canary.steps.0.weight: has to be a number; write 10% as 0.1",
        ),
        (
            "canary: {steps: [{weight: 0.5}, {weight: 0.1}]}",
            "4:4: deploy.canary.steps: the weights of the steps have to grow",
        ),
        (
            "canary: {steps: [{weight: 0.5, min_requests: 1e9}]}",
            "4:26: deploy.canary.steps.0.min_requests: has to be a whole number, in digits alone",
        ),
        (
            "staging: {latency: {at_most: 0x champion}}",
            "4:14: deploy.staging.latency.at_most: '0x champion' is no limit above 0; write",
        ),
        (
            "staging: {holdout: {margin: 250}}",
            "4:14: deploy.staging.holdout.margin: say of which metric 250 is the margin, such as",
        ),
        (
            "staging: {holdout: {metric: squared_error}}",
            "4:4: deploy.staging.holdout.margin: is missing: squared_error is in the target's own",
        ),
        ("approval: {roles: []}", "4:4: deploy.approval.roles: needs at least 1"),
        (
            "approval: {roles: approver}",
            "4:4: deploy.approval.roles: has to be a list; write it as [approver]",
        ),
        ("approval: {then: promote}", "4:4: deploy.approval.then: has to be 'pause' or 'reject'"),
        (
            "windows: {zone: Berlin, closed: [{days: [sat]}]}",
            "4:4: deploy.windows.zone: Berlin is no time zone",
        ),
        ("windows: {zone: UTC, closed: []}", "4:15: deploy.windows.closed: needs at least 1"),
        (
            "windows: {zone: UTC, closed: [{days: [mon], begin: 18:00}]}",
            "4:38: deploy.windows.closed.0.begin: 1080 is no time of day; write it in quotes, as "
            '"18:00"; YAML reads 18:00 without quotes as that',
        ),
        (
            "windows: {zone: UTC, closed: [{days: [sat], end: '24:01'}]}",
            "4:38: deploy.windows.closed.0.end: '24:01' is no time of day; write it in quotes",
        ),
        (
            "windows: {zone: UTC, closed: [{days: [sat], begin: '08:00', end: '08:00'}]}",
            "4:24: deploy.windows.closed.0: begins when it ends; leave both out for whole days",
        ),
        (
            f"windows: {{zone: UTC, closed: [{WEEK}, end: '12:00'}}, {WEEK}, begin: '12:00'}}]}}",
            "3:2: deploy.windows: no time of the week is left open: nothing would ever",
        ),
        (
            "windows: {zone: UTC, closed: [{days: [monday]}]}",
            "4:32: deploy.windows.closed.0.days.0: has to be 'mon', 'tue'",
        ),
        ("canary: {stepz: []}", "4:4: deploy.canary.stepz: unknown key; did you mean steps?"),
    ],
)
def test_a_fault_is_told_with_file_line_column_and_remedy(
    loopwright: Run, file: Path, policy: str, told: str
) -> None:
    key, value = policy.split(": ", maxsplit=1)
    file.write_text(f"model: churn\ndeploy:\n {key}:\n  {value}\n")

    result = loopwright("deployments", "plan", "--file", str(file))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"{file}:{told}")
    assert len(result.stderr.splitlines()) == 1
    assert not result.stdout


def test_all_faults_are_told_at_once(loopwright: Run, file: Path) -> None:
    file.write_text("deploys: {}\ndeploy: {keep: 0}\nmonitor: {concept: no}\n")

    lines = loopwright("deployments", "plan", "--file", str(file)).stderr.splitlines()
    answer = json.loads(loopwright("deployments", "plan", "--file", str(file), "--json").stdout)

    assert [line.split(": ")[1] for line in lines] == ["deploys", "deploy.keep", "monitor.concept"]
    assert answer["faults"][1] == {
        "file": str(file),
        "line": 2,
        "column": 10,
        "key": "deploy.keep",
        "sentence": "has to be at least 1",
    }


def test_a_good_policy_is_planned_for_later_versions_and_for_the_first(
    loopwright: Run, file: Path
) -> None:
    file.write_text("deploy: {approval: {roles: [risk]}, canary: {steps: [{weight: 0.25}]}}\n")

    result = loopwright("deployments", "plan", "--file", str(file))

    assert result.exit_code == 0, result.output
    later, first = result.stdout.split("\na model's first version, which")
    assert "risk approves within 86400s, else pause" in later
    assert "beside the champion: 25% of the traffic" in later
    assert "no champion to compare with" in first
    assert [line.split()[0] for line in first.splitlines()[2:]] == ["staging", "canary"]


def test_closed_windows_are_planned(loopwright: Run, file: Path) -> None:
    night = '{days: [mon, tue], begin: "18:00", end: "08:00"}'
    windows = f"{{zone: Europe/Berlin, closed: [{night}, {{days: [sat, sun]}}]}}"
    file.write_text(f"deploy: {{windows: {windows}}}\n")

    result = loopwright("deployments", "plan", "--file", str(file))

    assert result.exit_code == 0, result.output
    assert (
        "windows are closed: mon tue 18:00 to 08:00, sat sun 00:00 to 24:00 (Europe/Berlin)"
    ) in result.stdout


@pytest.mark.parametrize("zone", ["''", "../UTC", '"\\0"', "x" * 5000, "1", "Europe"])
def test_what_is_no_zone_is_told_to_be_none(loopwright: Run, file: Path, zone: str) -> None:
    file.write_text(f"deploy: {{windows: {{zone: {zone}, closed: [{{days: [sat]}}]}}}}\n")

    result = loopwright("deployments", "plan", "--file", str(file))

    assert result.exit_code == 1
    assert f"{file}:1:20: deploy.windows.zone: " in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_programs_get_both_plans(loopwright: Run, file: Path) -> None:
    file.write_text("model: churn\n")

    result = loopwright("deployments", "plan", "--file", str(file), "--json")

    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert answer["default_policy"]
    assert "canary" in [step["state"] for step in answer["steps"]]
    assert "canary" not in [step["state"] for step in answer["first_version"]]


def test_a_file_without_a_policy_has_the_default_and_is_told_so(
    loopwright: Run, file: Path
) -> None:
    file.write_text("model: churn\n")

    result = loopwright("deployments", "plan", "--file", str(file))

    assert result.exit_code == 0
    assert f"{file} has no `deploy:`; this is the default policy" in result.stdout


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ": there is no such file; `loopwright init` writes an example"),
        (b"deploy: [\n", ":2:1: not YAML: "),
        (b"deploy: {keep: 2, keep: 3}", ":1:19: deploy.keep: given twice"),
        (b"deploy: {keep: 2026-13-45}", ":1:16: not YAML: 2026-13-45 is no timestamp; "),
        (b"\xff", ": not UTF-8: "),
        (b"\x07", ":1: not YAML: unacceptable character"),
        (b"", ":1: must be a mapping, not nothing"),
        (b" " * ((1 << 20) + 1), ": larger than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_clear_words(
    loopwright: Run, file: Path, content: bytes | None, told: str
) -> None:
    if content is not None:
        file.write_bytes(content)

    result = loopwright("deployments", "plan", "--file", str(file))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"{file}{told}")
    assert len(result.stderr.splitlines()) == 1


def test_a_directory_is_no_file(loopwright: Run, tmp_path: Path) -> None:
    result = loopwright("deployments", "plan", "--file", str(tmp_path))

    assert result.exit_code == 1
    assert "is a directory; name the file in it, such as loopwright.yaml" in result.stderr


def test_a_dvc_file_alone_is_deployed_by_the_default_policy(
    loopwright: Run, tmp_path: Path
) -> None:
    file = tmp_path / "dvc.yaml"
    file.write_text("stages: {train: {cmd: make}}\n")

    planned = loopwright("deployments", "plan", "--file", str(file))
    (tmp_path / "loopwright.yaml").write_text("model: m\n")
    refused = loopwright("deployments", "plan", "--file", str(file))

    assert planned.exit_code == 0, planned.output
    assert "this is the default policy" in planned.stdout
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"{file}: says nothing of deploying; name the loopwright.yaml that is beside it\n"
    )


@pytest.mark.parametrize("arguments", [(), ("churn/1", "--file", "loopwright.yaml")])
def test_one_of_a_deployment_and_a_file_is_planned(
    loopwright: Run, arguments: tuple[str, ...]
) -> None:
    assert loopwright("deployments", "plan", *arguments).exit_code == 2
