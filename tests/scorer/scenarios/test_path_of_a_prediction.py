"""How many files a prediction passes through: whoever reads its path has to open each of them.

A V2 call in JSON is traced from the bytes that a connection receives to those that it writes, on a
replica as the service composes it: with counters and records, and on a connection that is kept.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from tests.scorer import packages
from tests.scorer.harness import ScorerHarness
from tests.scorer.listening import listening

FILES_LIMIT, MOVES_LIMIT = 18, 45
CALLS = 5
INPUTS = [
    {"name": name, "datatype": "FP64", "shape": [1], "data": [0.5]} for name in packages.NUMBERS
]
BODY = json.dumps({"inputs": INPUTS}).encode()


def path_of(function: Callable[[], object]) -> list[str]:
    """Loopwright's source files in the order in which a call moves from one to the next."""
    path: list[str] = []

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        _, found, name = frame.f_code.co_filename.partition("/src/loopwright_")
        if found and name not in path[-1:]:
            path.append(name)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return path


async def test_a_prediction_passes_through_few_files(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    harness.package_dirs = {"numeric": packages.numeric(tmp_path / "numeric")}
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "numeric"))
        await replica.serves(1)

        class Traced(replica.service.http):  # type: ignore[misc, name-defined]
            paths: ClassVar[list[list[str]]] = []

            def data_received(self, data: bytes) -> None:
                self.paths.append(path_of(lambda: super(Traced, self).data_received(data)))

        replica.service.http = Traced
        async with listening(replica.service) as there:
            client = await there.connect()
            answers = [
                await client.ask(json.dumps({"inputs": INPUTS}).encode()) for _ in range(CALLS)
            ]

    assert [answer.status for answer in answers] == [200] * CALLS
    *_, path = Traced.paths
    assert len(Traced.paths) == CALLS
    assert "scorer/runtimes/onnx.py" in "\n".join(path)
    assert len(set(path)) <= FILES_LIMIT, sorted(set(path))
    assert len(path) - 1 <= MOVES_LIMIT, path
