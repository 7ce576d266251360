"""Asks a system of somebody's own over HTTP whether a version may go on."""

import asyncio
import json
import ssl
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from loopwright_common.deploy_policy import WebhookPolicy
from loopwright_common.egress.http_post import HttpAnswer, LongAnswerError, post_json
from loopwright_common.egress.rules import EgressRules, RefusedAddressError
from loopwright_common.events import Check
from loopwright_common.names import shown
from loopwright_deployer.staging.checks.base import StagingContext, verdict_of

_ASKED_AGAIN = frozenset({429, 502, 503, 504})
_PAUSE = 1.0
"""Seconds until it is asked again."""
_LARGEST = 1 << 16
"""Bytes of an answer."""
_EXPECTED = '{"verdict": "passed"}, with failed or inconclusive in its place, and a "sentence"'


class WebhookAnswer(BaseModel):
    """What the system says; other keys are its own."""

    verdict: Literal["passed", "failed", "inconclusive"]
    sentence: str = ""


class WebhookCheck:
    """The verdict is the system's; `inconclusive` where it gives none within its time."""

    def __init__(self, webhook: WebhookPolicy, rules: EgressRules, deployment: str) -> None:
        """`rules`: what may be reached; `deployment`: the id that the system is told."""
        self.name = f"webhook-{webhook.name}"
        self._webhook = webhook
        self._rules = rules
        self._deployment = deployment

    async def run(self, staged: StagingContext) -> Check:
        """`skipped` where the version is rejected anyway."""
        if failed := next((each for each in staged.found if each.verdict == "failed"), None):
            return self._verdict("skipped", f"not asked, since {failed.name} failed")
        troubles: list[str] = []
        try:
            async with asyncio.timeout(self._webhook.within.total_seconds()):
                return await self._ask(self._question(staged), troubles)
        except TimeoutError:
            within = f"{self._webhook.within.total_seconds():g} s"
            why = f": {troubles[-1]}" if troubles else ""
            return self._unclear(f"no answer within {within}{why}")

    def _question(self, staged: StagingContext) -> dict[str, Any]:
        """What the system is told; documented for those who write one."""
        registered, champion = staged.candidate.registered, staged.champion
        return {
            "deployment": self._deployment,
            "model": registered.model,
            "version": registered.version,
            "champion": champion.registered.version if champion else None,
            "package": registered.digest,
            "run": registered.run_id,
            "commit": registered.commit,
            "metrics": registered.metrics,
            "checks": [check.model_dump(mode="json") for check in staged.found],
        }

    async def _ask(self, question: dict[str, Any], troubles: list[str]) -> Check:
        """Ask until there is an answer; `troubles` are what was in the way meanwhile."""
        body, url = json.dumps(question).encode(), self._webhook.url
        while True:
            try:
                answer = await post_json(self._rules, url, body, _LARGEST)
            except RefusedAddressError:
                return self._refused()
            except LongAnswerError:
                return self._unclear(f"its answer is longer than {_LARGEST >> 10} KiB")
            except ssl.SSLCertVerificationError as error:
                return self._unclear(f"its certificate is not trusted: {error.verify_message}")
            except OSError as error:
                troubles.append(f"it cannot be reached ({error.strerror or error})")
            else:
                if answer.status not in _ASKED_AGAIN:
                    return self._understood(answer)
                troubles.append(f"it answers {answer.status}")
            await asyncio.sleep(_PAUSE)

    def _understood(self, answer: HttpAnswer) -> Check:
        if answer.status != HTTPStatus.OK:
            moved = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            return self._unclear(f"it answers {answer.status} instead of 200{moved}")
        try:
            said = WebhookAnswer.model_validate_json(answer.content)
        except ValidationError:
            text = answer.content[:100].decode(errors="replace")
            return self._unclear(f"it answers {shown(text)} instead of {_EXPECTED}")
        says = f"{shown(said.sentence)} says" if said.sentence else "says so"
        return self._verdict(said.verdict, f"{says} {self._webhook.url}")

    def _refused(self) -> Check:
        return self._unclear(
            "it is at no public address; who operates the deployer lists that in"
            " LOOPWRIGHT_DEPLOYER_WEBHOOK_ADDRESSES, and a retry asks again"
        )

    def _unclear(self, why: str) -> Check:
        return self._verdict("inconclusive", f"{self._webhook.url}: {why}")

    def _verdict(
        self, verdict: Literal["passed", "failed", "inconclusive", "skipped"], sentence: str
    ) -> Check:
        return verdict_of(self.name, verdict, sentence)
