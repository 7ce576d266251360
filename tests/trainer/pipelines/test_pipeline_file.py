"""`loopwright.yaml` and `dvc.yaml`: what they may say, and how wrong files are told."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.errors import InvalidError
from loopwright_trainer.pipelines.file_faults import FileError
from loopwright_trainer.pipelines.params import ParamUse, read_params
from loopwright_trainer.pipelines.pipeline import CheckRule, Pipeline
from loopwright_trainer.pipelines.pipeline_file import read_deploy_policy, read_pipeline

APPENDIX_A = """
model: bank-marketing
stages:
  prepare:
    cmd: python prepare.py
    deps: [prepare.py, data/base.csv.gz]
    outs: [work/base.parquet]
  collect:
    cmd: python collect.py
    deps: [collect.py, work/base.parquet, data/captured]
    params: [collect.rows]
    outs: [work/training.parquet, work/holdout.parquet]
  train:
    cmd: python train.py
    deps: [train.py, work/training.parquet]
    params: [train]
    outs: [work/package]
    retries: 1
    timeout: 10m
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py, work/package, work/holdout.parquet]
    metrics: [work/metrics.json]
captured: data/captured
register:
  package: work/package
  training: work/training.parquet
  holdout: work/holdout.parquet
  target: y
checks:
  - python -m compileall -q .
  - notebooks: no-outputs
triggers:
  code: {branches: [main], paths: ["**/*.py", params.yaml, loopwright.yaml]}
  schedule: "0 3 * * 1"
  drift: {min_new_labels: 6000, cooldown: {rows: 6000, time: 0s}, per_day: 24}
monitor:
  false_alarm_every: {rows: 1000000}
  smallest_change: 0.05
deploy:
  staging:
    holdout: {metric: log_loss, margin: 0.01}
    latency: {at_most: 1.2x champion}
  canary:
    steps: [{weight: 0.1, min_requests: 30}, {weight: 0.5, min_requests: 60}]
    max_time: 10m
  approval: none
"""


def reader(**files: str) -> Callable[[str], bytes | None]:
    by_name = {name.replace("_", "."): text for name, text in files.items()}
    return lambda name: by_name[name].encode() if name in by_name else None


def read(text: str, **files: str) -> Pipeline:
    return read_pipeline(reader(loopwright_yaml=text, **files), "repo")


def test_the_example_of_the_design_is_understood() -> None:
    pipeline = read(APPENDIX_A)

    assert [stage.name for stage in pipeline.stages] == ["prepare", "collect", "train", "evaluate"]
    train = pipeline.stages[2]
    assert (train.retries, train.timeout, train.params) == (
        1,
        600.0,
        (ParamUse("params.yaml", ("train",)),),
    )
    assert pipeline.name == pipeline.model == "bank-marketing"
    assert pipeline.monitor.drift is not None
    assert pipeline.monitor.drift.min_new_labels == 6000
    assert pipeline.deploy.staging.latency.at_most == "1.2x champion"
    assert [rule.command for rule in pipeline.checks] == ["python -m compileall -q .", None]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stages: {a: {deps: [x]}}", "loopwright.yaml:1:10: stages.a: has no cmd"),
        (
            "stages:\n  a:\n    cmd: x\n    retries: 99",
            "stages.a.retries: is 99; allowed are 0 to 10",
        ),
        (
            "stages:\n  a:\n    cmd: x\n    retries: lots",
            "yaml:4:5: stages.a.retries: must be a whole",
        ),
        (
            "stages:\n  a:\n    cmd: x\n    timeout: 10",
            "stages.a.timeout: 10 is no duration; write",
        ),
        ("stages: {a: {cmd: x, outs: [../up]}}", "stages.a.outs.0: '../up' leaves the repository"),
        ("stages: {a: {cmd: x, deps: [/etc]}}", "stages.a.deps.0: '/etc' leaves the repository"),
        (
            "stages: {a: {cmd: x, needs: [b]}}",
            "stages.a: needs 'b', which is no stage; there are a",
        ),
        ("stages: {a: {cmd: x, outs: [o]}, b: {cmd: y, outs: [o/p]}}", "overlaps out o of stage a"),
        (
            "stages: {a: {cmd: x, deps: [p], outs: [o]}, b: {cmd: y, deps: [o], outs: [p]}}",
            "stages need each other: ",
        ),
        ("stages: {a: {cmd: x}}\nstages: {}", "loopwright.yaml:2:1: stages: given twice"),
        ("stages: {a: {cmd: x}}\nregister: {package: p}", "register: needs `model:`"),
        (
            "stages: {a: {cmd: x}}\nmodel: m\nregister: {package: p, training: b/t.csv}",
            "yaml:3:24: register.training: b/t.csv: has to be Parquet, as pandas' `to_parquet`",
        ),
        (
            "stages: {a: {cmd: x}}\nmodel: m\nregister:\n  package: p\n  holdout: t.JSONL.gz",
            "yaml:5:3: register.holdout: t.JSONL.gz: has to be Parquet",
        ),
        (
            "stages: {a: {cmd: x}}\ndeploy:\n  canary:\n    stepz: []",
            "loopwright.yaml:4:5: deploy.canary.stepz: unknown key; did you mean steps? allowed ",
        ),
        (
            "stages: {a: {cmd: x}}\ndeploy:\n  record:\n    sample: 2",
            "loopwright.yaml:4:5: deploy.record.sample: has to be at most 1",
        ),
        (
            "stages: {a: {cmd: x}}\ndeploy:\n  keep: 0\n  canary:\n    margin: 0",
            "yaml:3:3: deploy.keep: has to be at least 1\nloopwright.yaml:5:5: deploy.canary.",
        ),
        (
            "stages: {a: {cmd: x}}\ndeploy:\n  record:\n    redacted: [age]",
            "yaml:4:5: deploy.record.redacted: unknown key; did you mean redact? allowed",
        ),
        (
            "stages: {a: {cmd: x}}\nmonitor: {smallest_change: 2}",
            "monitor.smallest_change: has to be less than 0.5",
        ),
        ("stages: {a: {cmd: x}}\nmonitor: {drift: {}}", "monitor.drift: unknown key; allowed are "),
        (
            "stages: {a: {cmd: x}}\ntriggers: {drift: {per_day: -1}}",
            "loopwright.yaml:2:20: triggers.drift.per_day: has to be at least 0",
        ),
        ("stages: {a: {cmd: x}}\ntriggers: {schedule: daily}", "must be five cron fields"),
        ("stages: {a: {cmd: 'echo ${nope}'}}", "stages.a.cmd: ${nope} is not among the parameters"),
        ("stages: {a: {cmd: x}}\ncaptured: 2026-13-45", "yaml:2:11: not YAML: 2026-13-45 is no "),
        ("- a", "loopwright.yaml:1:1: must be a mapping, not a list"),
        ("a: &a [*a]", "too many or too deeply nested"),
        ("a: " + "[" * 20_000 + "]" * 20_000, "too many or too deeply nested"),
        ("- " * 20_000, "too many or too deeply nested"),
        ("stages: {}", "names no stage"),
        (f"stages: {{a: {{cmd: x, wdir: {'d/' * 70}}}}}", "/d/d/d lies over 64 directories deep"),
        (f"stages: {{a: {{cmd: x, outs: [{'n' * 256}]}}}}", "nnn has a name of over 255 bytes"),
        (f"stages: {{a: {{cmd: {'x' * 100_001}}}}}", "a.cmd: has 100001 characters; at most"),
        (
            f"vars: [{{big: {'x' * 90_000}}}]\nstages: {{a: {{cmd: '${{big}}${{big}}'}}}}",
            "yaml:2:14: stages.a.cmd: has over 100000 characters once its ${...} are filled in",
        ),
        (
            f"vars: [{{n: {list(range(600))}}}]\nstages:\n"
            "  a: {foreach: '${n}', do: {cmd: x}}\n  b: {foreach: '${n}', do: {cmd: x}}",
            "loopwright.yaml:2:1: stages: makes over 1000 stages",
        ),
        (
            f"stages: {{a: {{cmd: x}}}}\ntriggers: {{code: {{paths: ['{'*a' * 101}']}}}}",
            "triggers.code.paths: at most 100 patterns of 200 characters are taken",
        ),
    ],
)
def test_a_wrong_file_is_told_with_file_line_key_and_remedy(text: str, complaint: str) -> None:
    with pytest.raises(InvalidError) as error:
        read(text)
    assert complaint in str(error.value)


def test_all_parts_of_a_file_are_told_at_once_in_its_order() -> None:
    text = """
modl: x
stages: {a: {cmd: x, outz: [y], dep: [z]}}
deploy: {keep: 0}
monitor: {block_rows: 1, concept: none}
triggers: {drift: {per_day: -1}, schedules: x, code: {path: y}}
register: {package: /p}
"""
    with pytest.raises(FileError) as error:
        read(text)
    assert [(fault.line, fault.key) for fault in error.value.faults] == [
        (2, "modl"),
        (3, "stages.a.outz"),
        (3, "stages.a.dep"),
        (4, "deploy.keep"),
        (5, "monitor.block_rows"),
        (6, "triggers.drift.per_day"),
        (6, "triggers.schedules"),
        (6, "triggers.code.path"),
        (7, "register"),
        (7, "register.package"),
    ]


WRONG = {
    "deploy": {
        "keep": "keep: 1e9",
        "kep": "kep: 2",
    },
    "deploy.canary": {
        "max_time": "max_time: 50us",
        "error_ratio": "error_ratio: .inf",
        "margin": "margin: .inf",
        "steps": "steps: [{weight: 0.5}, {weight: 0.1}]",
    },
    "deploy.staging.latency": {
        "at_most": "at_most: 0x champion",
        "atmost": "atmost: 2x champion",
    },
    "deploy.approval": {
        "roles": "roles: approver",
        "then": "then: promote",
        "within": "within: 0s",
    },
    "monitor": {
        "block_rows": "block_rows: 1",
        "drift": "drift: {}",
    },
    "triggers.drift": {
        "per_day": "per_day: many",
    },
    "triggers": {
        "schedules": "schedules: x",
    },
}
"""Lines that are wrong, by the mapping that they stand in and their key."""


@given(st.sets(st.sampled_from([(at, key) for at, keys in WRONG.items() for key in keys])))
def test_whatever_is_wrong_together_each_is_told_with_its_line(
    wrong: set[tuple[str, str]],
) -> None:
    lines = ["stages: {a: {cmd: x}}"]
    expected = []
    opened: set[str] = set()
    for at, key in sorted(wrong):
        parts = at.split(".")
        for depth in range(len(parts)):
            if (parent := ".".join(parts[: depth + 1])) not in opened:
                opened.add(parent)
                lines.append("  " * depth + f"{parts[depth]}:")
        lines.append("  " * len(parts) + WRONG[at][key])
        expected.append((len(lines), 1 + 2 * len(parts), f"{at}.{key}"))
    text = "\n".join(lines)

    assert faults_in(lambda: read(text)) == expected
    assert faults_in(lambda: read_deploy_policy(text.encode(), "loopwright.yaml")) == expected


def faults_in(read_it: Callable[[], object]) -> list[tuple[int | None, int | None, str]]:
    try:
        read_it()
    except FileError as error:
        return [(fault.line, fault.column, fault.key) for fault in error.faults]
    return []


def test_stages_are_multiplied_and_filled_from_params() -> None:
    text = """
stages:
  fit:
    foreach: ${kinds}
    do: {cmd: "fit ${item} ${rate}", outs: ["${item}.bin"]}
  grid:
    matrix: {kind: [a, b], depth: [1, 2]}
    cmd: go ${item.kind} ${item.depth}
  last: {cmd: [one, two], deps: ["tree.bin"], wdir: sub, needs: [fit@line]}
"""
    files = {"params_yaml": "kinds: [tree, line]\nrate: 0.5\n"}
    stages = {stage.name: stage for stage in read(text, **files).stages}

    assert stages["fit@tree"].commands == ("fit tree 0.5",)
    assert stages["fit@line"].outs == ("line.bin",)
    assert {name for name in stages if name.startswith("grid")} == {
        "grid@a-1", "grid@a-2", "grid@b-1", "grid@b-2",
    }  # fmt: skip
    assert stages["last"].deps == ("sub/tree.bin",)
    assert list(stages).index("last") > list(stages).index("fit@line")


def test_stages_of_a_dvc_file_are_taken_with_the_whole_tree() -> None:
    dvc = "stages: {a: {cmd: x, params: [{p.json: [k]}], plots: [{c.csv: {x: t}}]}}"
    bare = read_pipeline(reader(dvc_yaml=dvc), "repo")
    beside = read("model: m\nregister: {package: c.csv}", dvc_yaml=dvc)

    assert (bare.name, bare.model, bare.whole_tree) == ("repo", "repo", True)
    assert bare.registers_only_package
    assert (beside.name, beside.whole_tree) == ("m", True)
    assert not beside.registers_only_package
    assert bare.stages[0].outs == ("c.csv",)
    assert bare.stages[0].params == (ParamUse("p.json", ("k",)),)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "p.json: values are nested over 50 level"),
        ('{"a": ' + "[" * 51 + "]" * 51 + "}", "p.json: values are nested over 50 levels deep"),
        ('{"a": "\\ud800"}', r"p.json: \ud800 is no Unicode text"),
        ('{"\\ud800": 1}', r"p.json: \ud800 is no Unicode text"),
    ],
)
def test_parameters_that_nothing_can_take_are_told(content: str, complaint: str) -> None:
    with pytest.raises(InvalidError) as error:
        read_params(content.encode(), "p.json")
    assert complaint in str(error.value)


def test_a_long_check_has_a_short_name_of_its_own() -> None:
    """A database keeps 255 characters of it."""
    checks = [CheckRule(f"{'x' * 300}{n}") for n in range(2)]
    assert CheckRule("make check").name == "check: make check"
    assert len({check.name for check in checks}) == 2
    assert all(len(check.name) < 255 for check in checks)
