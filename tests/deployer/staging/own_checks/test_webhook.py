"""A system of somebody's own is asked over real HTTP, and what it says decides."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.deploy_policy import StagingPolicy, WebhookPolicy
from loopwright_common.egress.addresses import AllowedAddress
from loopwright_common.egress.rules import EgressRules
from loopwright_common.events import Check
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import store_package
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.staging.checks.base import StagingContext, verdict_of
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from loopwright_deployer.staging.own_checks.webhook import WebhookCheck
from tests.deployer.builders import COLUMNS, MODEL, graph_of, onnx_package, pipeline
from tests.deployer.controllers import until, working
from tests.deployer.lifecycle import lead_to
from tests.deployer.staging.answering import SPEC, version
from tests.deployer.staging.recorded import recorded

LOOPBACK = EgressRules((AllowedAddress("127.0.0.0/8", None),))
Answer = Callable[[BaseHTTPRequestHandler], None]


class Webhook:
    """A server on loopback that answers a request by the next of `answers`, the last for good."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.questions: list[dict[str, Any]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                webhook.questions.append(json.loads(body))
                answers[min(len(webhook.questions), len(answers)) - 1](self)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/versions"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Generator[Callable[..., Webhook], None, None]:
    opened: list[Webhook] = []

    def open_one(*answers: Answer, **options: Any) -> Webhook:
        opened.append(Webhook(*answers, **options))
        return opened[-1]

    yield open_one
    for webhook in opened:
        webhook.close()


def says(status: int, content: object, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def says_nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read()


def says_a_byte_now_and_then(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def says_to_go_on_for_ever(handler: BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        while True:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def staged(*found: Check) -> StagingContext:
    """Version 2 beside champion 1, with these verdicts so far; no scorer is asked."""
    nobody = ScorerClient("http://127.0.0.1:9", MODEL)
    return StagingContext(
        policy=StagingPolicy(),
        candidate=version(2, nobody, SPEC),
        champion=version(1, nobody, SPEC),
        read_holdout=lambda *_: pytest.fail("no holdout is read"),
        recorded=recorded(),
        time_limit=300,
        found=list(found),
    )


async def asked(
    url: str, *found: Check, within: str = "20s", rules: EgressRules = LOOPBACK
) -> Check:
    policy = WebhookPolicy.model_validate({"name": "risk", "url": url, "within": within})
    return await WebhookCheck(policy, rules, "deployment-1").run(staged(*found))


@pytest.mark.parametrize("verdict", ["passed", "failed", "inconclusive"])
async def test_the_verdict_is_the_systems(serve: Callable[..., Webhook], verdict: str) -> None:
    webhook = serve(says(200, {"verdict": verdict, "sentence": "limits of risk", "more": 1}))

    check = await asked(webhook.url)

    assert (check.name, check.verdict) == ("webhook-risk", verdict)
    assert check.sentence == f"limits of risk says {webhook.url}"


async def test_the_system_is_told_the_version_and_all_verdicts_so_far(
    serve: Callable[..., Webhook],
) -> None:
    webhook = serve(says(200, {"verdict": "passed"}))

    await asked(webhook.url, verdict_of("holdout", "passed", "as good"))

    (question,) = webhook.questions
    checks = question.pop("checks")
    assert question == {
        "deployment": "deployment-1", "model": MODEL, "version": 2, "champion": 1,
        "package": "sha256:" + "0" * 64, "run": None, "commit": None, "metrics": {},
    }  # fmt: skip
    assert [(c["name"], c["verdict"], c["sentence"]) for c in checks] == [
        ("holdout", "passed", "as good")
    ]


async def test_nobody_is_asked_about_a_version_that_has_failed(
    serve: Callable[..., Webhook],
) -> None:
    webhook = serve(says(200, {"verdict": "passed"}))

    check = await asked(webhook.url, verdict_of("schema", "failed", "no input"))

    assert (check.verdict, check.sentence) == ("skipped", "not asked, since schema failed")
    assert not webhook.questions


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_system_that_has_no_time_is_asked_again(
    serve: Callable[..., Webhook], status: int
) -> None:
    webhook = serve(says(status, b"later"), says(200, {"verdict": "passed"}))

    assert (await asked(webhook.url)).verdict == "passed"
    assert len(webhook.questions) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says(500, b"oops"), "it answers 500 instead of 200"),
        (says(204, b""), "it answers 204 instead of 200"),
        (
            says(307, b"", location="http://127.0.0.1:9/"),
            "it answers 307 instead of 200; redirects are not followed",
        ),
        (says(200, b"ok"), 'it answers ok instead of {"verdict": "passed"}, with failed or'),
        (says(200, b"\x1b[31m\xff"), "it answers \\x1b[31m\ufffd instead of"),
        (says(200, {"verdict": "yes"}), '{"verdict": "yes"} instead of {"verdict": "passed"}'),
        (says(200, b"1" * 70_000), "its answer is longer than 64 KiB"),
        (says_to_go_on_for_ever, "its answer is longer than 64 KiB"),
        (says_nothing, "no answer within 0.5 s"),
        (says_a_byte_now_and_then, "no answer within 0.5 s"),
    ],
)
async def test_what_is_no_verdict_is_inconclusive_with_the_reason(
    serve: Callable[..., Webhook], answer: Answer, why: str
) -> None:
    webhook = serve(answer)
    slow = answer in (says_nothing, says_a_byte_now_and_then)

    check = await asked(webhook.url, within="0.5s" if slow else "20s")

    assert check.verdict == "inconclusive"
    assert check.sentence.startswith(f"{webhook.url}: ")
    assert why in check.sentence


async def test_who_has_no_certificate_that_the_system_trusts_is_not_believed(
    serve: Callable[..., Webhook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    webhook = serve(says(200, {"verdict": "passed"}), tls=tls)

    stranger = await asked(webhook.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    known = await asked(webhook.url)

    assert stranger.verdict == "inconclusive"
    assert stranger.sentence.startswith(f"{webhook.url}: its certificate is not trusted: ")
    assert known.verdict == "passed"


async def test_a_system_that_is_away_is_inconclusive_with_what_was_in_the_way() -> None:
    check = await asked("http://127.0.0.1:9/versions", within="3s")

    assert check.verdict == "inconclusive"
    assert check.sentence == (
        "http://127.0.0.1:9/versions: no answer within 3 s: it cannot be reached"
        " (Connection refused)"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7", "metadata.internal", "[::1]"])
async def test_no_private_address_is_asked_unless_an_operator_lists_it(
    serve: Callable[..., Webhook], host: str
) -> None:
    webhook = serve(says(200, {"verdict": "passed"}))
    port = webhook.url.split(":")[2].split("/")[0]
    rules = EgressRules(resolver=lambda name, _: ["169.254.169.254" if "." in name else name])
    literal = EgressRules()

    check = await asked(
        f"http://{host}:{port}/", rules=rules if host == "metadata.internal" else literal
    )

    assert check.verdict == "inconclusive"
    assert ": it is at no public address" in check.sentence
    assert "LOOPWRIGHT_DEPLOYER_WEBHOOK_ADDRESSES" in check.sentence
    assert not webhook.questions


async def test_a_staged_version_goes_by_what_its_policy_has_asked(
    serve: Callable[..., Webhook], database: Database, bus: EventBus, tmp_path: Path
) -> None:
    webhook = serve(says(200, {"verdict": "failed", "sentence": "not on a Friday"}))
    package = onnx_package(tmp_path / "package", graph_of(pipeline()), COLUMNS)
    digest = await store_package(FilesystemStore(tmp_path / "artifacts"), package)
    deploy = {"staging": {"webhooks": [{"name": "risk", "url": webhook.url}]}}
    await lead_to(
        database, 1, DeploymentState.RECEIVED, digest=digest, format="onnx", deploy=deploy
    )
    async with working(database, bus, tmp_path, webhook_rules=LOOPBACK):
        record = await until(database, 1, DeploymentState.REJECTED, DeploymentState.PROMOTING)

    assert record.deployment.why == (f"staging: webhook-risk: not on a Friday says {webhook.url}")
    (question,) = webhook.questions
    assert question["deployment"] == record.deployment.id
    assert {c["name"] for c in question["checks"]} >= {"schema", "holdout", "latency"}
