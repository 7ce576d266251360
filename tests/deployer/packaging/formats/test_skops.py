"""skops files that are not what estimators leave behind."""

from pathlib import Path

import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from loopwright_common.errors import InvalidError
from loopwright_deployer.packaging.build import PackagingJob, build_package
from tests.audited import run_audited
from tests.deployer.builders import COLUMNS, customers, skops_package


async def test_a_damaged_skops_file_opens_calls_and_imports_nothing(tmp_path: Path) -> None:
    """A thousand of them, watched by an audit hook."""
    module = "tests.deployer.packaging.formats.skops_fuzz_process"
    found = await run_audited(module, str(tmp_path), "13", "1000")

    assert found["events"] == {}
    assert set(found["outcomes"]) == {"opened", "refused"}
    assert min(found["outcomes"].values()) > 50


@pytest.mark.parametrize("kind", [SVC, KNeighborsClassifier])
def test_what_native_code_walks_by_its_own_indices_is_not_served_natively(
    tmp_path: Path, kind: type
) -> None:
    import numpy as np

    frame, labels = customers(60)
    model = make_pipeline(FunctionTransformer(np.abs), kind()).fit(frame[["rate"]], labels)
    source = skops_package(tmp_path / "source", model, [COLUMNS[1]])

    with pytest.raises(InvalidError, match=r"(SVC|KDTree) is served as ONNX only"):
        build_package(PackagingJob(source, tmp_path / "target", "sha256:" + "1" * 64))
