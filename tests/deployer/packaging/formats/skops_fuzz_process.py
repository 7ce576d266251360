"""`... DIRECTORY SEED COUNT`: opens damaged skops files under an audit hook, prints outcomes.

Models with native memory are left out: what these do to a process is the corpus' matter.
"""

import importlib
import json
import random
import sys
import warnings
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from loopwright_common.model_files.skops_types import LISTED
from loopwright_deployer.packaging.formats.skops import load_skops
from loopwright_deployer.packaging.sources.mlmodel import PackageSource, read_source
from tests.deployer.builders import COLUMNS, customers, pipeline, skops_package

FORBIDDEN = """
    import exec ctypes. pickle. marshal. subprocess. socket. os. shutil. urllib. tempfile. pty.
    code. glob. sqlite3. mmap. webbrowser. http. ftplib. signal. fcntl.
"""
LOADERS = """
    ConstructorFromReduceNode FunctionNode MethodNode OperatorFuncNode PartialNode TypeNode
    ObjectNode RandomStateNode RandomGeneratorNode SparseMatrixNode LossNode TreeNode ListNode
    DictNode JsonNode NdArrayNode CachedNode NoSuchNode
"""
NAMES = """
    os.system builtins.eval builtins.exec builtins.open subprocess.Popen operator.methodcaller
    operator.attrgetter functools.partial importlib.import_module pickle.loads numpy.load
    numpy.frompyfunc numpy.matmul builtins.map builtins.getattr lightgbm.basic.Booster
    xgboost.core.Booster joblib.load sklearn.datasets.fetch_openml antigravity.fly this.d
    sklearn.pipeline.Pipeline sklearn.cluster._dbscan.DBSCAN numpy.dtype numpy.ndarray
"""
VALUES: list[Any] = [
    None,
    True,
    -1,
    2**70,
    "",
    "x",
    [],
    {},
    [[]],
    "../../etc/passwd",
    "schema.json",
]


def damage(schema: Any, draw: random.Random) -> None:
    """One thing wrong with one of the schema's fields."""
    holders = [schema]
    for holder in holders:
        parts = holder.values() if isinstance(holder, dict) else holder
        holders.extend(part for part in parts if isinstance(part, dict | list))
    holder = draw.choice([each for each in holders if each])
    key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if isinstance(holder, dict) and "__loader__" in holder and draw.random() < 0.6:
        module, _, name = draw.choice(NAMES.split()).rpartition(".")
        holder |= draw.choice(
            [
                {"__module__": module, "__class__": name},
                {"__loader__": draw.choice(LOADERS.split())},
                {
                    "__loader__": draw.choice(LOADERS.split()),
                    "__module__": module,
                    "__class__": name,
                },
            ]
        )
    elif draw.random() < 0.3:
        holder[key] = json.loads(json.dumps(draw.choice(holders)))  # once more, or within itself
    else:
        holder[key] = draw.choice(VALUES)


def main(directory: Path, seed: int, count: int) -> None:
    frame, labels = customers(40)
    sources = [
        read_source(skops_package(directory / name, model, COLUMNS))
        for name, model in (("pipeline", pipeline(rows=40)), ("words", _words(frame, labels)))
    ]
    for name in LISTED:
        importlib.import_module(name.rpartition(".")[0])
    seen: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    watching = [""]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching[0]:
            return
        opened = event == "open" and str(arguments[0]) != watching[0]
        if opened or any(event == n or event.startswith(n) for n in FORBIDDEN.split()):
            seen[f"{event} {arguments!r:.100}"] += 1

    for source in sources:
        load_skops(source)  # what skops imports when it is first used
    sys.addaudithook(watch)
    draw = random.Random(seed)  # noqa: S311
    for _ in range(count):
        source = draw.choice(sources)
        _write_damaged(source, directory / "damaged.skops", draw)
        outcomes[_outcome(source, directory / "damaged.skops", watching)] += 1
    print(json.dumps({"outcomes": outcomes, "events": seen}))  # noqa: T201


def _words(frame: Any, labels: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(), SGDClassifier()).fit(frame["job"], labels)


def _write_damaged(source: PackageSource, target: Path, draw: random.Random) -> None:
    with zipfile.ZipFile(source.file) as sound:
        members = {name: sound.read(name) for name in sound.namelist()}
    schema = json.loads(members["schema.json"])
    for _ in range(draw.randint(1, 3)):
        damage(schema, draw)
    members["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(target, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)


def _outcome(source: PackageSource, file: Path, watching: list[str]) -> str:
    watching[0] = str(file)
    try:
        load_skops(replace(source, file=file))
    except Exception:  # noqa: BLE001  (packaging words all of them)
        return "refused"
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        watching[0] = ""
    return "opened"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
