"""Files of native model formats, looked through before a native reader opens them.

These readers take indices and sizes as they come: a damaged file ends their process or reads and
writes its memory. `check_model_file` holds every one against what it counts, in Python alone, and
is called by whoever opens such a file: packaging, and the scorer when it loads a package.
"""

from loopwright_common.model_files.check import check_model_file
from loopwright_common.model_files.estimators import confine_estimator
from loopwright_common.model_files.skops_nodes import HeldTypes, held_types
from loopwright_common.model_files.skops_types import NATIVE

__all__ = ["NATIVE", "HeldTypes", "check_model_file", "confine_estimator", "held_types"]
