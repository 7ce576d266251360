"""Arrays of many calls, one below the other."""

import math
from collections.abc import Sequence

import numpy as np


class ShapeMismatchError(Exception):
    """Arrays of different types, or with different further dimensions."""


def stack_arrays(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays [rows, ...] as one; ShapeMismatchError where numpy would have to make them fit."""
    if len(arrays) == 1:
        return arrays[0]
    try:
        return np.concatenate(arrays, casting="no")
    except (TypeError, ValueError):
        raise ShapeMismatchError from None


class ArrayStack:
    """Arrays [rows, ...] of one type, and with the same further dimensions."""

    def __init__(self, like: np.ndarray) -> None:
        """For arrays as this one, which is not yet among them."""
        self._type, self._shape = like.dtype, like.shape[1:]
        self.width = math.prod(self._shape)
        """How many columns it makes."""
        self._parts: list[np.ndarray] = []

    def takes(self, parts: Sequence[np.ndarray]) -> bool:
        kind, shape = self._type, self._shape
        return all(part.shape[1:] == shape and part.dtype == kind for part in parts)

    def add(self, parts: Sequence[np.ndarray]) -> None:
        """Only what it `takes`."""
        self._parts += parts

    def columns(self) -> np.ndarray:
        """All that was added as [columns, rows], each column in one piece."""
        parts = [part.reshape(len(part), -1).T for part in self._parts]
        # Told where to put it: numpy would keep the rows in one piece, as the parts have them.
        whole = np.empty((len(parts[0]), sum(map(len, self._parts))), self._type)
        return np.concatenate(parts, axis=1, out=whole)
