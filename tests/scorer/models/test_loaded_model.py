"""What a loaded model keeps of this process."""

import ctypes
from pathlib import Path

import pytest

from loopwright_scorer.models import loaded_model
from loopwright_scorer.runtimes.base import ModelRuntime, ServingPackage
from loopwright_scorer.runtimes.registry import open_runtime

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

    digest = "sha256:" + "0" * 64
    loaded_model.load(package_dirs["trained"], digest)  # which imports what opens it
    monkeypatch.setattr(loaded_model, "open_runtime", open_wastefully)

    model = loaded_model.load(package_dirs["trained"], digest)

    _C.free(kept.pop())
    assert model.memory < _BLOCK * _BLOCKS / 2
