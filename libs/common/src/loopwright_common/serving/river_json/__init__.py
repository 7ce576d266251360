"""River's learners as JSON, reopened without pickle. Needs nothing but the standard library.

The document is `{"format": 2, "root": REF, "heap": [...]}`. A REF is a plain value or `{"at": i}`,
a place in the heap, so that shared and cyclic objects stay what they are. Only what `classes` and
`allowed` list can be named. Imports are relative: the process of a package has this folder, and not
the rest of Loopwright.
"""

from .errors import NotPlainError
from .reader import loads
from .writer import dumps

__all__ = ["NotPlainError", "dumps", "loads"]
