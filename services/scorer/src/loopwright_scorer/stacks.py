"""Arrays of many calls, one below the other."""

import numpy as np

_SHEET = 512
"""Rows of small calls that are copied together."""
_SMALL = 32
"""Rows up to which a copy costs less than keeping a call's array, and all that it is a part of."""


class Stack:
    """Arrays [rows, ...] of one type, and with the same further dimensions."""

    def __init__(self, like: np.ndarray) -> None:
        """For arrays as this one, which is not yet among them."""
        self._type, self._shape = like.dtype, like.shape[1:]
        self._parts: list[np.ndarray] = []
        self._sheet = np.empty((0, *self._shape), self._type)
        self._count = 0

    def takes(self, values: np.ndarray) -> bool:
        return values.shape[1:] == self._shape and bool(values.dtype == self._type)

    def add(self, values: np.ndarray) -> None:
        """Only what it `takes`: numpy would make anything fit."""
        rows = len(values)
        if rows > _SMALL:
            self._turn()
            self._parts.append(values)
            return
        end = self._count + rows
        if end > len(self._sheet):
            self._turn()
            self._sheet, end = np.empty((_SHEET, *self._shape), self._type), rows
        self._sheet[self._count : end] = values
        self._count = end

    def columns(self) -> np.ndarray:
        """All that was added as [columns, rows], each column in one piece."""
        self._turn()
        return np.concatenate([part.reshape(len(part), -1).T for part in self._parts], axis=1)

    def _turn(self) -> None:
        """What is on the sheet is a part, and what comes goes on the rest of it."""
        if self._count:
            self._parts.append(self._sheet[: self._count])
            self._sheet, self._count = self._sheet[self._count :], 0
