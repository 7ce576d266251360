"""Which artifact store a URL names."""

from pathlib import Path

from loopwright_common.errors import InvalidError, scheme_alone
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.storage.filesystem import FilesystemStore


def open_store(url: str) -> ArtifactStore:
    """The store at `file:///DIRECTORY` or `s3://BUCKET/PREFIX`; InvalidError for any other URL."""
    scheme, separator, path = url.partition("://")
    if scheme == "file" and separator:
        return FilesystemStore(Path(path))
    if scheme == "s3" and path:
        # Imported where used: obstore is only needed by whoever has a bucket.
        from loopwright_common.storage.s3 import S3Store

        return S3Store.at(path)
    raise InvalidError(
        f"{scheme_alone(url)}: give file:///DIRECTORY or s3://BUCKET/PREFIX", field="artifacts_url"
    )
