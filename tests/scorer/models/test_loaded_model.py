"""What a loaded model keeps of this process, and whose fault a failure is."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from loopwright_common.errors import InvalidError
from loopwright_scorer.models import loaded_model
from loopwright_scorer.runtimes.base import ModelRuntime, ServingPackage
from loopwright_scorer.runtimes.registry import open_runtime
from loopwright_scorer.tensors.inputs import ModelInputs
from tests.scorer.packages import BREAKS_AT, brittle, words

DIGEST = "sha256:" + "0" * 64
_BLOCK, _BLOCKS = 1 << 10, 1 << 16
_C = ctypes.CDLL(None)
_C.malloc.restype = ctypes.c_void_p
_C.free.argtypes = [ctypes.c_void_p]


@pytest.mark.skipif(not hasattr(_C, "malloc_trim"), reason="another allocator than glibc's")
def test_what_opening_needs_no_more_is_not_kept(
    package_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    def open_wastefully(package: ServingPackage) -> ModelRuntime:
        blocks = [_C.malloc(_BLOCK) for _ in range(_BLOCKS)]
        for block in blocks:
            ctypes.memset(block, 1, _BLOCK)
        kept.append(
            blocks.pop()
        )  # at the end, so that what lies before it is not returned by itself
        for block in blocks:
            _C.free(block)
        return open_runtime(package)

    loaded_model.load(package_dirs["trained"], DIGEST)  # which imports what opens it
    monkeypatch.setattr(loaded_model, "open_runtime", open_wastefully)

    model = loaded_model.load(package_dirs["trained"], DIGEST)

    _C.free(kept.pop())
    assert model.memory < _BLOCK * _BLOCKS / 2


def test_a_model_that_fails_on_a_missing_value_refuses_it(tmp_path: Path) -> None:
    model = loaded_model.load(words(tmp_path / "words"), DIGEST)
    text = np.array([None], object)

    with pytest.raises(InvalidError, match=r"missing or extreme values in subject; .*'lower'"):
        model.predict(ModelInputs(1, {"subject": text}))


def test_a_model_that_fails_on_plain_values_has_failed(tmp_path: Path) -> None:
    model = loaded_model.load(brittle(tmp_path / "brittle"), DIGEST)
    plain = {
        "age": np.array([41.0]),
        "visits": np.array([BREAKS_AT]),
        "job": np.array(["clerk"], object),
        "balance": np.array([1.0]),
    }

    assert model.predict(ModelInputs(1, plain)).error is not None
