"""A git repository whose only stage copies a committed ONNX package: the loop without training."""

import json
import subprocess
from pathlib import Path

COLUMNS = ("width", "height", "depth")
_PIPELINE = """model: {name}
stages:
  package:
    cmd: python package.py
    deps: [package.py, onnx, seed.txt]
    outs: [work/package]
register:
  package: work/package
deploy:
  canary:
    steps: [{{weight: 0.5, min_requests: 5}}]
    margin: 0.5 # few calls are made in tests and benchmarks
"""
_STAGE = """import shutil
from pathlib import Path

shutil.copytree("onnx", "work/package")
shutil.copy("seed.txt", Path("work/package"))
"""


def write(directory: Path, name: str) -> Path:
    """Write the repository, ready for its first commit."""
    (directory / "onnx").mkdir(parents=True)
    (directory / "loopwright.yaml").write_text(_PIPELINE.format(name=name))
    (directory / "package.py").write_text(_STAGE)
    (directory / "seed.txt").write_text(f"{name}\n")
    (directory / "onnx" / "model.onnx").write_bytes(_trained())
    signature = [{"name": name, "type": "double", "required": True} for name in COLUMNS]
    mlmodel = {
        "flavors": {"onnx": {"data": "model.onnx"}},
        "signature": {"inputs": json.dumps(signature)},
    }
    (directory / "onnx" / "MLmodel").write_text(json.dumps(mlmodel))
    git(directory, "init", "--quiet", "--initial-branch=main")
    return directory


def commit(directory: Path, message: str) -> str:
    """Commit everything; returns the commit's hash."""
    git(directory, "add", "--all")
    author = ("-c", "user.name=Loopwright", "-c", "user.email=loop@example.org")
    git(directory, *author, "commit", "--quiet", "--message", message)
    return git(directory, "rev-parse", "HEAD")


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _trained() -> bytes:
    """A logistic regression over three real columns, one ONNX input each."""
    import numpy as np
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(0)
    rows = pd.DataFrame(draw.normal(size=(500, len(COLUMNS))), columns=list(COLUMNS))
    labels = (rows.sum(axis=1) + draw.normal(size=500) > 0).astype(int)
    scaled = ColumnTransformer([("scale", StandardScaler(), list(COLUMNS))])
    fitted = make_pipeline(scaled, LogisticRegression()).fit(rows, labels)
    inputs = [(name, FloatTensorType([None, 1])) for name in COLUMNS]
    converted = to_onnx(fitted, initial_types=inputs, options={"zipmap": False})
    return bytes(converted.SerializeToString())
