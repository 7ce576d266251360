"""The listed types, held against those that the installed skops trusts by itself.

Where a new skops or scikit-learn makes one of these fail: look at the type. If what a served
estimator holds is of it, and neither its state nor its arguments make it open, call, import or
start anything, list it in `skops_types` with its loader; else name it here.
"""

from typing import Any

from skops.io import _trusted_types
from skops.io._audit import NODE_TYPE_MAPPING

from loopwright_common.model_files.skops_types import LISTED, NATIVE, TYPES

NOT_SERVED = """
    AffinityPropagation AgglomerativeClustering SpectralBiclustering SpectralCoclustering Birch
    DBSCAN HDBSCAN MeanShift OPTICS SpectralClustering EllipticEnvelope EmpiricalCovariance
    GraphicalLasso GraphicalLassoCV MinCovDet LedoitWolf OAS ShrunkCovariance IsolationForest
    PatchExtractor ClassicalMDS MDS SpectralEmbedding TSNE BayesianGaussianMixture GaussianMixture
    KernelDensity LocalOutlierFactor NearestNeighbors OneClassSVM SGDOneClassSVM BernoulliRBM
    LocallyLinearEmbedding Isomap RandomTreesEmbedding SparseRandomProjection SparseCoder
"""
"""Neither classifies, nor predicts, nor transforms rows that it has not seen; or holds a sparse
matrix, whose indices native code takes as they are."""
LOADERS_NOT_SERVED = {
    "CachedNode": "what has an id and comes again is written out each time",
    "ConstructorFromReduceNode": "calls a type with arguments",
    "MethodNode": "binds any method",
    "OperatorFuncNode": "attrgetter and methodcaller call what they are given",
    "PartialNode": "calls with arguments",
    "QuantileForestNode": "another library's native memory",
    "SparseMatrixNode": "indices that native code takes as they are, in an archive of its own",
}


def test_every_estimator_that_skops_trusts_is_listed_or_refused_by_name() -> None:
    trusted = {
        name: name.rpartition(".")[2]
        for name in (
            *_trusted_types.SKLEARN_ESTIMATOR_TYPE_NAMES,
            *_trusted_types.SKLEARN_INTERNAL_TYPE_NAMES,
        )
    }

    undecided = {
        n for n, cls in trusted.items() if n not in LISTED and cls not in NOT_SERVED.split()
    }
    assert undecided == set()
    assert {n for n, cls in trusted.items() if n in LISTED and cls in NOT_SERVED.split()} == set()


def test_every_way_in_which_skops_makes_something_is_listed_or_refused_by_name() -> None:
    loaders = {loader for loader, _ in NODE_TYPE_MAPPING} | {"CachedNode"}

    assert loaders - set(TYPES) - {"JsonNode"} == set(LOADERS_NOT_SERVED)


def test_no_function_type_or_generator_beyond_the_list_is_left_to_skops() -> None:
    by_skops = {
        "FunctionNode": {
            *_trusted_types.NUMPY_UFUNC_TYPE_NAMES,
            *_trusted_types.SCIPY_UFUNC_TYPE_NAMES,
        },
        "TypeNode": {
            *_trusted_types.PRIMITIVE_TYPE_NAMES,
            *_trusted_types.CONTAINER_TYPE_NAMES,
            *_trusted_types.NUMPY_DTYPE_TYPE_NAMES,
        },
    }

    assert by_skops["FunctionNode"] >= TYPES["FunctionNode"]
    assert TYPES["TypeNode"] - by_skops["TypeNode"] == {"collections.OrderedDict"}
    assert not TYPES["FunctionNode"] & {"numpy.frompyfunc", "numpy.matmul", "numpy.ldexp"}
    assert "builtins.map" not in TYPES["TypeNode"]


def test_what_native_code_takes_for_indices_is_named_as_such() -> None:
    assert NATIVE <= LISTED
    assert {name.rpartition(".")[2] for name in NATIVE} >= {
        "Tree",
        "TreePredictor",
        "KDTree",
        "SVC",
    }


def test_listed_types_exist() -> None:
    import importlib

    missing: list[Any] = []
    for name in LISTED:
        module, _, cls = name.rpartition(".")
        if not hasattr(importlib.import_module(module), cls):
            missing.append(name)

    assert missing == []
