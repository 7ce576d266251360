"""What a document may name, and how a name is looked up: in these lists, and nowhere else."""

from __future__ import annotations

import importlib
import inspect
from functools import reduce
from types import FunctionType, MethodType
from typing import Any

from .classes import RIVER
from .errors import REMEDY, NotPlainError

CLASSES = frozenset(
    f"river.{module}:{name}" for module, names in RIVER.items() for name in names.split()
)
COMPILED: dict[str, tuple[type, ...]] = {
    "river._river_rust.drift:AdaptiveWindowing": (float, int, int, int, int),
    "river._river_rust.stats:RsEWMean": (float,),
    "river._river_rust.stats:RsEWVar": (float,),
    "river._river_rust.stats:RsIQR": (float, float),
    "river._river_rust.stats:RsKurtosis": (bool,),
    "river._river_rust.stats:RsPeakToPeak": (),
    "river._river_rust.stats:RsQuantile": (),
    "river._river_rust.stats:RsRollingIQR": (float, float, int),
    "river._river_rust.stats:RsRollingPRAUC": (int, int),
    "river._river_rust.stats:RsRollingQuantile": (float, int),
    "river._river_rust.stats:RsRollingROCAUC": (int, int),
    "river._river_rust.stats:RsSkew": (bool,),
}
"""Classes whose state is bytes, and the types of what makes an empty one."""
VECTOR = "river._river_rust.vectordict:VectorDict"
FUNCTIONS = frozenset(
    {f"builtins:{name}" for name in ("bool", "dict", "float", "int", "list", "set", "tuple")}
    | {f"builtins:{name}" for name in ("str", "str.lower")}
    | {f"collections:{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque")}
    | {
        "copy:deepcopy",
        "numbers:Number",
        "river._river_rust.vectordict:euclidean_distance_dict",
        "river._river_rust.vectordict:euclidean_distance_tuple",
        "river.feature_extraction.vectorize:find_all_ngrams",
        "river.feature_extraction.vectorize:remove_stop_words",
        "river.feature_extraction.vectorize:strip_accents_unicode",
        "river.feature_extraction.vectorize:tokenize_using_regex_pattern",
        "river.forest.online_extra_trees:ExtraTrees._detection_mode_all",
        "river.forest.online_extra_trees:ExtraTrees._detection_mode_drop",
        "river.forest.online_extra_trees:ExtraTrees._detection_mode_off",
        "river.naive_bayes.gaussian:GaussianNB._make_gaussian",
        "river.tree.splitter.ebst_splitter:EBSTNode._update_estimator_multivariate",
        "river.tree.splitter.ebst_splitter:EBSTNode._update_estimator_univariate",
        "river.tree.splitter.nominal_splitter_reg:NominalSplitterReg._update_estimator_multivariate",
        "river.tree.splitter.nominal_splitter_reg:NominalSplitterReg._update_estimator_univariate",
        "river.utils.math:minkowski_distance",
    }
)
"""What estimators hold to call it later: makers of default values, distances, steps over text."""
METHODS = frozenset(
    {
        "river.bandit.thompson:ThompsonSampling._clone_reward_obj_with_seed",
        "river.base.base:Base.clone",
        "river.drift.dummy:DummyDriftDetector._fixed_trigger",
        "river.drift.dummy:DummyDriftDetector._random_trigger",
        "river.drift.page_hinkley:PageHinkley._test_both",
        "river.drift.page_hinkley:PageHinkley._test_decrease",
        "river.drift.page_hinkley:PageHinkley._test_increase",
        "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag",
        "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag_half",
        "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag_me",
        "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag_wt",
        "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_subag",
        "river.feature_extraction.kernel_approx:RBFSampler._random_weights",
        "river.linear_model.pa:BasePA._calc_tau_0",
        "river.linear_model.pa:BasePA._calc_tau_1",
        "river.linear_model.pa:BasePA._calc_tau_2",
        "river.multiclass.occ:OutputCodeClassifier._next_code",
        "river.preprocessing.random_projection:GaussianRandomProjector._rand_gauss",
        "river.preprocessing.random_projection:SparseRandomProjector._rand_weights_for_feature",
        "river.preprocessing.scale_target:TargetMinMaxScaler._scale",
        "river.preprocessing.scale_target:TargetMinMaxScaler._unscale",
        "river.preprocessing.scale_target:TargetStandardScaler._scale",
        "river.preprocessing.scale_target:TargetStandardScaler._unscale",
        "river.tree.splitter.qo_splitter:Slot._update_estimator_multivariate",
        "river.tree.splitter.qo_splitter:Slot._update_estimator_univariate",
    }
)
"""What estimators keep as their own bound method."""


def name_of(value: Any) -> str:
    """`module:qualified.name` of a class, function or method; NotPlainError outside the lists."""
    owner = getattr(value, "__objclass__", value)
    name = f"{owner.__module__}:{value.__qualname__}"
    if name not in CLASSES and name not in FUNCTIONS and name not in METHODS:
        raise NotPlainError(f"{name.replace(':', '.')} is not plain state; {REMEDY}")
    return name


def find(name: Any, among: Any) -> Any:
    """What a name of the lists `among` stands for; NotPlainError for any other."""
    if not isinstance(name, str) or name not in among:
        raise NotPlainError(f"{name!r:.100} is not on the list of what a learner may hold")
    module, _, path = name.partition(":")
    try:
        return reduce(getattr, path.split("."), importlib.import_module(module))
    except (AttributeError, ImportError):
        raise NotPlainError(f"{name} is not of the River that is installed here") from None


def bind(owner: Any, name: Any) -> MethodType:
    """The owner's method, looked up without asking the owner; NotPlainError outside the list."""
    cls = owner if isinstance(owner, type) else type(owner)
    attribute = inspect.getattr_static(cls, name, None) if isinstance(name, str) else None
    function = getattr(attribute, "__func__", attribute)
    if not isinstance(function, FunctionType) or name_of(function) not in METHODS:
        raise NotPlainError(f"{name!r:.100} is no method that a learner may hold")
    return MethodType(function, owner)
