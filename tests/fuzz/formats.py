"""The formats that are read: their sound packages, how they are damaged, and how they are read."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loopwright_deployer.packaging.sources.mlmodel import PackageSource, read_source
from tests.fuzz import mutations

CORPUS = Path(__file__).parents[1] / "deployer" / "packaging" / "corpus"
Damage = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """`read` opens a package and lets the model answer its example; it may raise what it wants."""

    file: str
    damage: Damage
    read: Callable[[PackageSource], Any]


def source_of(name: str) -> PackageSource:
    """The sound package of a format."""
    return read_source(CORPUS / name / "package")


def read(name: str, source: PackageSource, file: Path) -> None:
    """Read the package with another model file."""
    FORMATS[name].read(replace(source, file=file))


def _read_native(source: PackageSource) -> None:
    from loopwright_deployer.packaging.build import OPENERS
    from loopwright_deployer.packaging.sources.sample_rows import sample_rows

    opened = OPENERS[source.flavor](source)
    opened.infer(sample_rows(None, opened.columns, opened.tensor, source.example))
    opened.native_form()


def _read_onnx(source: PackageSource) -> None:
    """As packaging does it, and then as a scorer's runtime does."""
    import onnxruntime

    from loopwright_common.model_files import check_model_file
    from loopwright_deployer.packaging.onnx import graph

    check_model_file(source.file, "onnx")
    described = graph.describe_graph(source)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(described.content, options)
    inputs = {one.name: _zeros(one) for one in session.get_inputs()}
    session.run(None, inputs)


def _zeros(declared: Any) -> Any:
    import numpy as np

    kind = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(int64)": "i8"}[declared.type]
    width = declared.shape[1] if len(declared.shape) > 1 else 1
    return np.zeros((3, min(int(width), 64)), kind)


def _read_river(source: PackageSource) -> None:
    from loopwright_common.serving import river_json

    river_json.loads(source.file.read_text())


FORMATS = {
    "xgboost": Format("model.json", mutations.damage_json, _read_native),
    "xgboost-ubj": Format("model.ubj", mutations.damage_bytes, _read_native),
    "lightgbm": Format("model.txt", mutations.damage_text, _read_native),
    "onnx": Format("model.onnx", mutations.damage_bytes, _read_onnx),
    "skops": Format("model.skops", mutations.damage_zip, _read_native),
    "river": Format("model.json", mutations.damage_json, _read_river),
}
