"""A package beside the deployer brings a check of its own, as pip would have installed it."""

from pathlib import Path

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.events import Check
from loopwright_deployer.staging.checks.base import StagingContext
from loopwright_deployer.staging.own_checks.installed import installed_checks
from tests.deployer.staging.own_checks.test_webhook import staged

MODULE = """
from loopwright_deployer.staging.checks.base import verdict_of

class Fairness:
    name = "called otherwise"

    async def run(self, staged):
        return verdict_of(self.name, "failed", f"version {staged.candidate.registered.version}")

class Broken(Fairness):
    async def run(self, staged):
        raise AttributeError("no such thing")

class Refusing(Fairness):
    async def run(self, staged):
        raise ValueError("not this one")

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
        ("Wordless", "the check gave str instead of a verdict"),
    ],
)
async def test_a_check_that_breaks_asks_a_person(install: Install, made_by: str, why: str) -> None:
    install(fairness=made_by)

    found = await verdict(staged())

    assert (found.name, found.verdict, found.sentence) == ("fairness", "inconclusive", why)


async def test_what_the_interface_says_of_errors_holds(install: Install) -> None:
    install(fairness="Refusing")
    (check,) = installed_checks()

    with pytest.raises(ValueError, match="not this one"):
        await check.run(staged())


@pytest.mark.parametrize(
    ("name", "made_by", "why"),
    [
        ("holdout", "Fairness", "there is another check of that name"),
        ("package", "Fairness", "there is another check of that name"),
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
