"""`... SEED COUNT`: reads damaged documents under an audit hook and prints what came of it.

What a hook sees, no code can hide; and none can be taken off again, hence a process of its own.
"""

import json
import sys
import time
from collections import Counter
from typing import Any

from loopwright_common.serving import river_json
from loopwright_common.serving.river_json.allowed import CLASSES, FUNCTIONS, METHODS, find
from tests.common.serving.river_json.mutations import corpus, damaged

FORBIDDEN = """
    import open exec compile ctypes. pickle. marshal. subprocess. socket. os. shutil. urllib.
    tempfile. pty. code. glob. sqlite3. mmap. webbrowser. http. ftplib. signal. winreg. fcntl.
""".split()  # noqa: SIM905
"""Events, or the beginnings of their names. `object.__getattr__` and `sys._getframe` do no harm."""


def main(seed: int, count: int) -> None:
    documents = corpus()
    for name in CLASSES | FUNCTIONS | METHODS:
        find(name, CLASSES | FUNCTIONS | METHODS)  # imported before anyone watches
    seen: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    watching = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and any(event == name or event.startswith(name) for name in FORBIDDEN):
            seen[f"{event} {arguments!r:.100}"] += 1

    sys.addaudithook(watch)
    slowest = 0.0
    for text in damaged(documents, seed, count):
        started, watching = time.perf_counter(), True
        try:
            river_json.loads(text)
            outcome = "opened"
        except river_json.NotPlainError:
            outcome = "refused"
        except BaseException as error:  # noqa: BLE001  (that is what is looked for)
            outcome = f"{type(error).__name__}: {error}"[:200]
        watching = False
        outcomes[outcome] += 1
        slowest = max(slowest, time.perf_counter() - started)
    print(json.dumps({"outcomes": outcomes, "events": seen, "slowest": slowest}))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
