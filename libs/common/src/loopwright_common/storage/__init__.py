"""Artifacts by digest and packages, in a directory or an S3-compatible store.

`captured_dataset` and `captured_tables` are imported by their own names: they need pyarrow's
Parquet, which few services do.
"""

from loopwright_common.storage.artifact_store import (
    ArtifactStore,
    Blob,
    digest_of,
    hex_of,
    read_chunks,
)
from loopwright_common.storage.factory import open_store
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import (
    PackageFile,
    fetch_package,
    manifest_of,
    package_digest,
    parse_manifest,
    store_package,
)
from loopwright_common.storage.parquet_stats import ParquetStats, read_parquet_stats

__all__ = [
    "ArtifactStore",
    "Blob",
    "FilesystemStore",
    "PackageFile",
    "ParquetStats",
    "digest_of",
    "fetch_package",
    "hex_of",
    "manifest_of",
    "open_store",
    "package_digest",
    "parse_manifest",
    "read_chunks",
    "read_parquet_stats",
    "store_package",
]
