"""The list of what a document may name, held against the River that is installed.

A new River may bring new classes and change old ones. Where one of these tests fails: look at the
class; if whatever its state it opens, evaluates, imports and starts nothing, and a served learner
may hold it, add it to `classes`; else add its module, or the class itself, to `NOT_SERVED` here.
"""

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import river

from loopwright_common.serving.river_json.allowed import (
    CLASSES,
    COMPILED,
    FUNCTIONS,
    METHODS,
    VECTOR,
    find,
)

NOT_SERVED = {
    "data, streams and tools": "api base checks compat datasets evaluate stream",
    "neither classifies nor predicts a number": "active bandit.base bandit.envs bandit.evaluate"
    " bandit.lin_ucb cluster covariance misc multioutput reco time_series tree.isoup_tree_regressor"
    " tree.nodes.isouptr_nodes",
    "data of their own": "bandit.datasets drift.datasets",
    "hold code of the user's": "compose.func compose.target_transform",
    "hold numpy's random state": "facto preprocessing.gap_encoder preprocessing.lda",
    "judge clusters or write reports": "metrics.fowlkes_mallows metrics.multioutput"
    " metrics.mutual_info metrics.rand metrics.report metrics.silhouette metrics.vbeta",
    "bases of others": "anomaly.base ensemble.bagging:BaseBagging feature_extraction.vectorize"
    ":VectorizerMixin imblearn.hard_sampling:HardSampling linear_model.base linear_model.pa:BasePA"
    " ensemble.streaming_random_patches:BaseSRPEnsemble metrics.base optim.base proba.base"
    " ensemble.streaming_random_patches:BaseSRPEstimator model_selection.bandit:BanditModelSection"
    " rules.base:Literal tree.base tree.mondrian.mondrian_tree"
    " tree.mondrian.mondrian_tree_nodes:MondrianBranch"
    " tree.mondrian.mondrian_tree_nodes:MondrianLeaf tree.mondrian.mondrian_tree_nodes:MondrianNode"
    " tree.mondrian.mondrian_tree_nodes:MondrianNodeClassifier"
    " tree.mondrian.mondrian_tree_nodes:MondrianNodeRegressor"
    " tree.stochastic_gradient_tree:StochasticGradientTree utils.rolling:BaseRolling"
    " utils.rolling:Rollable neighbors.base:DistanceFunc",
    "of what is not served": "proba.gaussian:MultivariateGaussian"
    " tree.split_criterion.intra_cluster_variance_reduction_split_criterion",
}
_DANGEROUS = """
    eval exec compile open __import__ input breakpoint globals delattr os shutil subprocess pickle
    importlib socket urllib request requests tempfile pathlib zipfile tarfile ctypes builtins runpy
    marshal shelve multiprocessing threading glob dill joblib gzip bz2 lzma
"""


def _refused() -> frozenset[str]:
    names = " ".join(NOT_SERVED.values()).replace(" :", ":").split()
    return frozenset(f"river.{name}" for name in names)


@cache
def classes_of_river() -> frozenset[str]:
    """`module:Class` of each that River defines, tests left out."""
    found = set()
    for info in pkgutil.walk_packages(river.__path__, "river."):
        if ".test_" in info.name:
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:  # some of the bandits' environments need what is not installed
            continue
        found |= {
            f"{info.name}:{value.__qualname__}"
            for value in vars(module).values()
            if inspect.isclass(value) and value.__module__ == info.name
        }
    compiled = importlib.import_module("river._river_rust")
    for part in (compiled.drift, compiled.stats, compiled.vectordict):
        values = filter(inspect.isclass, vars(part).values())
        found |= {f"{value.__module__}:{value.__qualname__}" for value in values}
    return frozenset(found)


def _is_refused(name: str) -> bool:
    module = name.partition(":")[0]
    folders = {module.rsplit(".", up)[0] for up in range(module.count(".") + 1)}
    return bool(({name} | folders) & _refused()) or inspect.isabstract(_resolved(name))


def _resolved(name: str) -> Any:
    module, _, path = name.partition(":")
    return getattr(sys.modules[module], path)


def test_every_class_of_river_is_allowed_or_refused_by_name() -> None:
    undecided = [
        name
        for name in sorted(classes_of_river() - CLASSES - set(COMPILED) - {VECTOR})
        if not _is_refused(name)
    ]

    assert undecided == []


def test_no_name_on_the_lists_is_unknown_to_river_or_refused() -> None:
    assert classes_of_river() >= CLASSES | set(COMPILED) | {VECTOR}
    assert [name for name in sorted(CLASSES) if _is_refused(name)] == []
    for name in FUNCTIONS | METHODS:
        assert callable(find(name, FUNCTIONS | METHODS))


def _sources() -> Iterator[tuple[str, ast.AST]]:
    """The allowed classes and functions, and River's own bases of the classes."""
    bases = {cls for name in CLASSES for cls in find(name, CLASSES).__mro__}
    functions = (find(name, FUNCTIONS | METHODS) for name in FUNCTIONS | METHODS)
    for value in {*bases, *filter(inspect.isfunction, functions)}:
        if value.__module__.startswith("river."):
            tree = _tree_of(value.__module__)
            yield (
                value.__qualname__,
                next(
                    node for node in ast.walk(tree) if getattr(node, "name", None) == value.__name__
                ),
            )


@cache
def _tree_of(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def test_no_allowed_class_opens_evaluates_imports_or_starts_anything() -> None:
    """Read in the sources, so that a new River in which one begins to do so is noticed."""
    dangers = [
        f"{name}: {node.id} in line {node.lineno}"
        for name, source in _sources()
        for node in ast.walk(source)
        if isinstance(node, ast.Name) and node.id in _DANGEROUS.split()
    ]

    assert dangers == []


def test_no_allowed_class_has_its_own_way_to_be_restored() -> None:
    """State is attributes. `__setstate__` is not called: it only mends pickles of former Rivers."""
    hooks = ("__reduce__", "__reduce_ex__", "__getstate__", "__new__", "__setattr__", "__del__")
    own = {
        f"{cls.__qualname__}.{hook}"
        for name in CLASSES
        for cls in find(name, CLASSES).__mro__
        for hook in hooks
        if hook in vars(cls) and cls.__module__.startswith("river.")
    }

    assert own == {"Triplet.__new__"}
