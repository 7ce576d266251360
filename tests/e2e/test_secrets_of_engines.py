"""The passwords of a database and a bucket, on a system whose database and bucket go away."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from loopwright.client import PORTS
from tests.e2e.exposure import Exposure, files_with
from tests.e2e.user import SECRET, SECRETS, User, until, with_system
from tests.engines import run_sql
from tests.stores import BUCKET, S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/x"
# `loopwright up` has its own database and store; all the rest is as there.
PROGRAM = """
from pathlib import Path
from loopwright import embedded

own = embedded._service_paths
embedded._service_paths = lambda data: {{**own(data), "database_url": "{database}",
                                         "artifacts_url": "s3://{bucket}/secrets"}}
embedded.main(Path(".loopwright"))
"""


def test_no_secret_of_an_engine_is_told_when_it_is_away(
    tmp_path: Path, postgres_url: str, s3_server: S3Server
) -> None:
    role = f"leaky_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{SECRET}'")
    database = make_url(postgres_url).set(username=role, password=SECRET)
    program = PROGRAM.format(database=database.render_as_string(False), bucket=BUCKET)

    with with_system(tmp_path, program=program) as user:
        exposure = Exposure(user.http, {service: user.url(service) for service in PORTS})
        exposure.walk()
        with _locked_out(postgres_url, role, user):
            exposure.walk("without a database")
        with s3_server.away():
            assert exposure.ask("registry", "PUT", ARTIFACT, content=b"x") == 503
    exposure.told["log"] = user.log.read_text()

    assert any("not permitted to log in" in text for text in exposure.told.values())
    assert any("there is no such bucket" in text for text in exposure.told.values())
    for secret in SECRETS:
        assert [by for by, text in exposure.told.items() if secret in text] == []
        assert files_with(secret, tmp_path / ".loopwright") == []


@contextmanager
def _locked_out(url: str, role: str, user: User) -> Generator[None]:
    """A role has no connection and gets none; the system is ready again afterwards."""
    ending = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"  # noqa: S608
    run_sql(url, f"ALTER ROLE {role} NOLOGIN")
    run_sql(url, ending)
    until("its database is away", lambda: not user.is_ready("registry"))
    yield
    run_sql(url, f"ALTER ROLE {role} LOGIN")
    until("every service is ready again", lambda: all(user.is_ready(name) for name in PORTS))
