"""The engines from packages, as far as they can be tried without starting one."""

import pytest

from loopwright.engines.program import require
from loopwright_common.errors import UnavailableError


def test_what_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(UnavailableError, match=r"no_engine .* pip install 'loopwright\[engines\]'"):
        require("no_engine")
