"""Faults that the operating system really gives."""

import resource
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def full_disk(most: int = 8192) -> Generator[None, None, None]:
    """No file of this process can grow past `most` bytes: every write there is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
