"""The event that says a version is sealed."""

from dataclasses import asdict

from loopwright_common.errors import InvalidError
from loopwright_common.events import Dataset, ModelRegistered
from loopwright_registry.models.domain import DATASETS_TAG, ModelVersion, Seal, SealedDataset


def model_registered_event(version: ModelVersion, seal: Seal) -> ModelRegistered:
    """The event of a sealed version.

    Raises InvalidError when what the tags say of the datasets cannot be.
    """
    return ModelRegistered(
        model_id=version.model_id,
        model=version.name,
        version=version.version,
        digest=seal.digest,
        location=seal.location,
        format=seal.format,
        signature=dict(seal.signature) if seal.signature else None,
        pipeline=seal.pipeline,
        run_id=seal.run_id,
        commit=seal.commit,
        metrics=dict(seal.metrics),
        datasets=[_dataset(dataset) for dataset in seal.datasets],
        deploy=dict(seal.deploy) if seal.deploy is not None else None,
        monitor=dict(seal.monitor) if seal.monitor is not None else None,
    )


def _dataset(dataset: SealedDataset) -> Dataset:
    try:
        return Dataset.model_validate(asdict(dataset))
    except ValueError as error:
        raise InvalidError(
            f"tag {DATASETS_TAG}: {dataset.role}: give rows, from, until (RFC 3339) and target: "
            f"{error}",
            field=DATASETS_TAG,
        ) from None
