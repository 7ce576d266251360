"""A bucket that speaks S3, for the tests: moto's server in this process."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

BUCKET = "loopwright"


class S3Server:
    """Seen by boto3, a client that the code under test does not use."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def keys(self) -> list[str]:
        return [found["Key"] for found in self._listed()]

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def clear(self) -> None:
        for key in self.keys():
            self._client.delete_object(Bucket=BUCKET, Key=key)

    @contextmanager
    def away(self) -> Generator[None]:
        """The bucket, and what is in it, is gone; an empty one comes back."""
        self.clear()
        self._client.delete_bucket(Bucket=BUCKET)
        yield
        self._client.create_bucket(Bucket=BUCKET)

    def _listed(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self._client.list_objects_v2(Bucket=BUCKET).get(
            "Contents", []
        )
        return found


@pytest.fixture(scope="session")
def s3_endpoint() -> Generator[str, None, None]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_server(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Generator[S3Server, None, None]:
    """An empty bucket; the usual variables lead to it."""
    import boto3

    variables = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    server = S3Server(client)
    yield server
    server.clear()
    client.close()
