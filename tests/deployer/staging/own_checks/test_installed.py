"""A package beside the deployer brings a check of its own, as pip would have installed it."""

import math
from pathlib import Path

import pytest

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.events import Check
from loopwright_deployer.staging.checks.base import StagingContext
from loopwright_deployer.staging.own_checks.installed import installed_checks
from tests.deployer.staging.own_checks.test_webhook import staged

MODULE = """
from loopwright_common.errors import UnavailableError
from loopwright_deployer.staging.checks.base import verdict_of

class Fairness:
    name = "called otherwise"

    async def run(self, staged):
        return verdict_of(self.name, "failed", f"version {staged.candidate.registered.version}")

class Broken(Fairness):
    async def run(self, staged):
        raise AttributeError("no such thing")

class Mistaken(Fairness):
    async def run(self, staged):
        raise KeyError("age")

class Away(Fairness):
    async def run(self, staged):
        raise UnavailableError("the store is away")

class Detailed(Fairness):
    async def run(self, staged):
        staged.details["groups"] = {"f": 0.5}
        return verdict_of(self.name, "passed", "fair").model_copy(update={"measured": 0.5})

class Unwritable(Fairness):
    async def run(self, staged):
        staged.details["groups"] = {"f": float("nan")}
        return verdict_of(self.name, "passed", "fair")

class Wordless(Fairness):
    async def run(self, staged):
        return "passed"

class Unmakeable:
    def __init__(self, needed):
        pass

class NoCheck:
    pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Install":
    monkeypatch.syspath_prepend(tmp_path)
    return Install(tmp_path)


class Install:
    """Leaves in a folder of the path what an installer leaves of a package with entry points."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, **checks: str) -> None:
        (self._directory / "house_rules.py").write_text(MODULE)
        info = self._directory / "house_rules-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house-rules\nVersion: 1.0\n")
        lines = [f"{name} = house_rules:{value}" for name, value in checks.items()]
        (info / "entry_points.txt").write_text(
            "\n".join(["[loopwright.staging_checks]", *lines, ""])
        )


async def verdict(context: StagingContext) -> Check:
    (check,) = installed_checks()
    return await check.run(context)


def test_without_such_a_package_there_is_none() -> None:
    assert installed_checks() == ()


async def test_a_check_of_a_package_gives_its_verdict_by_the_name_of_its_entry_point(
    install: Install,
) -> None:
    install(fairness="Fairness")

    found = await verdict(staged())

    assert (found.name, found.verdict, found.sentence) == ("fairness", "failed", "version 2")


@pytest.mark.parametrize(
    ("made_by", "why"),
    [
        ("Broken", "the check broke: AttributeError: no such thing"),
        ("Mistaken", "the check broke: KeyError: 'age'"),
        ("Unwritable", "the check broke: ValueError: Out of range float values are not JSON"),
        ("Wordless", "the check gave str instead of a verdict"),
    ],
)
async def test_a_check_that_breaks_asks_a_person(install: Install, made_by: str, why: str) -> None:
    install(fairness=made_by)

    found = await verdict(staged())

    assert (found.name, found.verdict) == ("fairness", "inconclusive")
    assert found.sentence.startswith(why)


async def test_what_is_to_be_tried_again_is(install: Install) -> None:
    install(fairness="Away")
    (check,) = installed_checks()

    with pytest.raises(UnavailableError):
        await check.run(staged())


async def test_what_it_adds_to_the_report_is_under_its_name(install: Install) -> None:
    install(fairness="Detailed")
    (check,) = installed_checks()
    context = staged()

    assert (await check.run(context)).verdict == "passed"
    assert context.details == {"fairness": {"groups": {"f": 0.5}}}


@pytest.mark.parametrize(
    ("name", "made_by", "why"),
    [
        ("holdout", "Fairness", "there is another check of that name"),
        ("package", "Fairness", "there is another check of that name"),
        ("webhook-risk", "Fairness", "are those of webhooks"),
        ("fairness", "Absent", "AttributeError"),
        ("fairness", "Unmakeable", "TypeError"),
        ("fairness", "NoCheck", "it has no method `run`"),
    ],
)
def test_one_that_cannot_be_used_is_no_silent_gap(
    install: Install, name: str, made_by: str, why: str
) -> None:
    install(**{name: made_by})

    with pytest.raises(InvalidError, match=why) as caught:
        installed_checks()

    assert f"the staging check {name} (house_rules:{made_by}) of house-rules" in str(caught.value)
    assert "uninstall" in str(caught.value)


def test_a_figure_that_is_none_is_left_out_of_a_verdict() -> None:
    check = Check(name="f", verdict="passed", sentence="", measured=math.nan, limit=math.inf)

    assert (check.measured, check.limit) == (None, None)
