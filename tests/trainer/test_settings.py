"""Settings of the trainer."""

from pathlib import Path

import pytest

from loopwright_common.errors import ConflictError
from tests.trainer.harness import settings_for


def test_two_trainers_cannot_share_a_directory(tmp_path: Path) -> None:
    with (
        settings_for(tmp_path).own_directory(),
        pytest.raises(ConflictError, match="LOOPWRIGHT_TRAINER_DIRECTORY"),
        settings_for(tmp_path).own_directory(),
    ):
        pass
