"""Columns of Arrow tables as tensors, and tensors as columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from loopwright_common.errors import InvalidError
from loopwright_scorer.protocols.arrow import size_limits
from loopwright_scorer.tensors.tensors import GivenTensor, OutputTensor, TensorType, datatype_of


def tensors_of_table(table: Any, inputs: Sequence[TensorType]) -> dict[str, GivenTensor]:
    """One tensor per column, numbers without copying; InvalidError names a column not served.

    As many columns of numbers as a model's one matrix has become that matrix.
    """
    if not table.num_rows or not table.num_columns:
        raise InvalidError("there are no rows")
    names = table.column_names
    if len(set(names)) < len(names):
        raise InvalidError("a column's name is given twice; name each column once")
    declared = {tensor.name: tensor.datatype for tensor in inputs}
    given = {
        name: _tensor(name, _whole(column), declared.get(name, "BYTES"))
        for name, column in zip(names, table.columns, strict=True)
    }
    only = inputs[0]
    if only.name in given or len(inputs) > 1 or only.shape != (-1, len(names)) or len(names) == 1:
        return given
    matrix = np.stack([np.asarray(each.data, np.float64) for each in given.values()], axis=1)
    return {only.name: GivenTensor("FP64", matrix.shape, matrix.ravel())}


def columns_of_tensors(tensors: Sequence[OutputTensor]) -> dict[str, Any]:
    """What has several values per row is a list of fixed size."""
    import pyarrow as pa

    columns = {}
    for name, _, array in tensors:
        flat = array.ravel()
        column = pa.array(flat.tolist() if flat.dtype == object else flat)
        if array.ndim > 1:
            column = pa.FixedSizeListArray.from_arrays(column, array.size // len(array))
        columns[name] = column
    return columns


def _whole(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _tensor(name: str, array: Any, declared: str) -> GivenTensor:
    import pyarrow as pa

    shape = [len(array)]
    if isinstance(array.type, pa.FixedShapeTensorType) and _is_row_major(array.type):
        flat = array.storage.flatten()
        shape += array.type.shape
    else:
        flat = _flattened(name, array, shape)
    size_limits.check_size(len(flat), 1)
    if pa.types.is_null(flat.type):
        return GivenTensor(declared, tuple(shape), [None] * len(flat))
    values = _values(name, flat)
    if isinstance(values, np.ndarray):
        return GivenTensor(datatype_of(values.dtype), tuple(shape), values)
    return GivenTensor(datatype_of(np.dtype(flat.type.to_pandas_dtype())), tuple(shape), values)


def _not_served(name: str, kind: Any) -> InvalidError:
    return InvalidError(f"input {name!r}: columns of type {kind!s:.60} are not served", field=name)


def _is_row_major(tensor: Any) -> bool:
    return tensor.permutation in (None, list(range(len(tensor.shape))))


def _flattened(name: str, array: Any, shape: list[int]) -> Any:
    """The values of lists, whose lengths are added to the shape."""
    import pyarrow as pa

    types = pa.types
    while (
        (fixed := types.is_fixed_size_list(array.type))
        or types.is_list(array.type)
        or (types.is_large_list(array.type))
    ):
        if array.null_count:
            raise InvalidError(f"input {name!r}: a list is missing; give one per row", field=name)
        lengths = {array.type.list_size} if fixed else set(array.value_lengths().to_pylist())
        if len(lengths) != 1:
            raise InvalidError(f"input {name!r}: the lists differ in length", field=name)
        shape += lengths
        array = array.flatten()
    return array


def _values(name: str, array: Any) -> np.ndarray | list[Any]:
    import pyarrow as pa

    types, kind = pa.types, array.type
    if types.is_dictionary(kind):
        return _decoded(name, array)
    if types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif types.is_temporal(kind) and (types.is_timestamp(kind) or types.is_date(kind)):
        zone = kind.tz if types.is_timestamp(kind) else None
        array = array.cast(pa.timestamp("us", zone), safe=False)
    elif not (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
    ):
        raise _not_served(name, kind)
    if array.null_count and (types.is_boolean(kind) or types.is_integer(kind)):
        return list(array.to_pylist())
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _decoded(name: str, array: Any) -> np.ndarray | list[Any]:
    """Each text of a dictionary is made once."""
    import pyarrow as pa

    kind = array.type.value_type
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        return _values(name, array.dictionary_decode())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise _not_served(name, array.type)  # decoded, a list would be there for each row
    texts = np.array([*array.dictionary.to_pylist(), None], object)
    return np.asarray(texts[array.indices.cast(pa.int64()).fill_null(-1).to_numpy()])
