"""Does the scorer serve what the package's signature says?"""

import asyncio

from loopwright_common.events import Check
from loopwright_common.serving.spec import ColumnType
from loopwright_common.wording import counted
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext, verdict_of

NAME = "schema"
DATATYPES: dict[ColumnType, str] = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "datetime": "BYTES",
}
"""Datatypes of the Open Inference Protocol by type of the signature."""


class SchemaCheck:
    """The scorer describes the candidate as its package does."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        return await asyncio.to_thread(check_schema, staged.candidate)


def check_schema(candidate: StagedVersion) -> Check:
    """The metadata shows the signature's inputs, the task's outputs and the classes."""
    metadata, spec = candidate.client.metadata, candidate.spec
    if spec.columns is not None:
        expected = {column.name: DATATYPES[column.type] for column in spec.columns}
        actual = {name: datatype for name, (datatype, _) in metadata.inputs.items()}
        if expected != actual:
            sentence = f"the signature says {expected}, the scorer {actual}"
            return verdict_of(NAME, "failed", sentence)
    outputs = {"label"} if spec.task == "classifier" else {"prediction"}
    if absent := outputs - set(metadata.outputs):
        return verdict_of(NAME, "failed", f"outputs lack {', '.join(sorted(absent))}")
    if spec.classes is not None and metadata.classes != spec.classes:
        sentence = f"classes are {metadata.classes}, the package says {spec.classes}"
        return verdict_of(NAME, "failed", sentence)
    return verdict_of(
        NAME, "passed", f"{counted(len(metadata.inputs), 'input')} as in the signature"
    )
