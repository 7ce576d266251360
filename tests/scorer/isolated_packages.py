"""Isolated packages: a pickle that does what its rows say, and wheels made on the spot."""

import sysconfig
import zipfile
from pathlib import Path
from typing import Any

from loopwright_common.serving.spec import IsolatedSpec, ServingSpec, Tensor
from tests.scorer.packages import SOURCE, write_spec

OPENED = "LOOPWRIGHT_TEST_OPENED"
"""Set in the environment of whichever process unpickles the mischief."""
_MISCHIEF = """
import os, socket, sys, time

def opened():
    os.environ[{opened!r}] = "1"
    return Model()

class Model:
    def predict(self, rows):
        return [getattr(self, ACTS[int(act)])(argument) for act, argument in rows]

    def answer(self, argument):
        return argument

    def hang(self, argument):
        time.sleep(60)

    def nap(self, argument):
        time.sleep(argument)
        return argument

    def exit(self, argument):
        os._exit(3)

    def allocate(self, argument):
        kept = []
        while True:
            kept.append(bytearray(64 << 20))

    def write(self, argument):
        with open("huge", "wb") as file:
            while True:
                file.write(bytes(1 << 20))

    def fork(self, argument):
        for _ in range(8):
            if not os.fork():
                os.setsid()
                time.sleep(20)
                os._exit(0)
        time.sleep(60)

    def crowd(self, argument):
        for _ in range(6):
            if not os.fork():
                kept = b"x" * (300 << 20)
                time.sleep(60)
        os.wait()
        os._exit(4)

    def babble(self, argument):
        os.write(int(sys.argv[1]), b"x" * 64)
        return argument

    def flood(self, argument):
        return [[1.0] * 7] * 9

    def secrets(self, argument):
        return float(sum("SECRET" in name for name in os.environ))

    def others_secrets(self, argument):
        found = 0
        for pid in os.listdir("/proc"):
            try:
                found += b"S3CRET=" in open(f"/proc/{{pid}}/environ", "rb").read()
            except OSError:
                pass
        return float(found)

    def was_opened(self, argument):
        return float({opened!r} in os.environ)

    def descriptors(self, argument):
        return float(len(os.listdir("/proc/self/fd")))

    def connect(self, argument):
        try:
            socket.create_connection(("127.0.0.1", int(argument)), 1).close()
        except OSError:
            return 0.0
        return 1.0

    def leave(self, argument):
        try:
            open(__file__, "a").close()
        except OSError:
            return 0.0
        return 1.0

ACTS = {acts!r}
"""
ACTS = [
    "answer", "hang", "exit", "allocate", "write", "fork", "babble", "flood", "secrets",
    "was_opened", "descriptors", "connect", "leave", "nap", "others_secrets",
    "crowd",
]  # fmt: skip


def mischief(directory: Path) -> Path:
    """A regressor over [act, argument] that unpickles by calling its own code."""
    code = directory / "code"
    code.mkdir(parents=True)
    (code / "mischief.py").write_text(_MISCHIEF.format(opened=OPENED, acts=ACTS))
    (directory / "model.pkl").write_bytes(b"cmischief\nopened\n(tR.")
    return _regressor(directory, IsolatedSpec(loader="pickle", code="code"))


def needing(directory: Path, *requirements: str) -> Path:
    """A regressor that is made of what a package of the requirements holds."""
    directory.mkdir(parents=True)
    (directory / "model.pkl").write_bytes(b"cgreeting\nModel\n(tR.")
    return _regressor(directory, IsolatedSpec(loader="pickle", requirements=list(requirements)))


def wheels(directory: Path) -> Path:
    """`greeting`, which no index has, and `borrowed`, which lends this Python's numpy."""
    directory.mkdir()
    greeting = "class Model:\n    def predict(self, rows):\n        return rows[:, 1] + 0.5\n"
    wheel(directory, "greeting", "1.0", {"greeting.py": greeting})
    lent = sysconfig.get_path("purelib")
    wheel(directory, "borrowed", "1.0", {"borrowed.pth": lent + "\n"})
    return directory


def wheel(directory: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A wheel of these files, by their place in it."""
    about = f"{name}-{version}.dist-info"
    metadata = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    everything = files | metadata
    everything[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in everything)
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in everything.items():
            archive.writestr(path, content)


def _regressor(directory: Path, isolated: IsolatedSpec, **more: Any) -> Path:
    spec = ServingSpec(
        format="isolated",
        file="model.pkl",
        task="regressor",
        tensor=Tensor(name="act", dtype="float64", shape=[2]),
        source_digest=SOURCE,
        example={"act": [[0.0, 1.0]]},
        isolated=isolated,
        **more,
    )
    return write_spec(directory, spec)
