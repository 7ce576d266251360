"""What a process of the scorer's own is set to, so that nothing holds answers up."""

import gc
import sys

import pyarrow as pa

from loopwright_scorer.runtimes.engines import import_quietly
from loopwright_scorer.runtimes.registry import import_engine

_SWITCH_SECONDS = 0.0005
"""How long a thread that seals records or loads a package may keep the event loop waiting."""
_YOUNG_OBJECTS = 20_000
"""How many may come before a look for cycles among them, of which an answer leaves none."""


def tune_process() -> None:
    """Switch threads and collect garbage for short answers, and import what most packages need."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(_YOUNG_OBJECTS)
    hide_pandas_from_pyarrow()
    import_engine("onnx")
    import_quietly("onnx")


def hide_pandas_from_pyarrow() -> None:
    """Let pyarrow, once for all, not find pandas: to know its types it would take in 32 MiB of it.

    Nobody else is kept from importing it.
    """
    sys.meta_path.insert(0, _NoPandas)
    pa.array([0])
    sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """An import finder that says there is no pandas."""

    @staticmethod
    def find_spec(name: str, *_where: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
