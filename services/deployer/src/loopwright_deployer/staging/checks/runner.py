"""Runs the staging checks; of those that use the scorers none disturbs the timing of another."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

import httpx

from loopwright_common.errors import InvalidError
from loopwright_common.events import Check
from loopwright_deployer.staging.checks import schema
from loopwright_deployer.staging.checks.base import StagingCheck, StagingContext, verdict_of
from loopwright_deployer.staging.checks.registry import CHECKS


async def run_checks(
    staged: StagingContext,
    checks: Sequence[StagingCheck] = CHECKS,
    at_once: Sequence[StagingCheck] = (),
) -> tuple[Check, ...]:
    """Every check's verdict, in `found` as they come; one that breaks failed, with the reason.

    Those that take nobody's time are run `at_once`, after the others. A candidate that its scorer
    does not even describe is asked nothing else.
    """
    with ExitStack() as stack:
        try:
            await asyncio.to_thread(stack.enter_context, staged.candidate.client)
        except (httpx.HTTPError, LookupError, ValueError) as error:
            sentence = f"the scorer does not describe it: {error}"
            staged.found.append(verdict_of(schema.NAME, "failed", sentence))
            return tuple(staged.found)
        if staged.champion is not None:
            await asyncio.to_thread(stack.enter_context, staged.champion.client)
        for check in checks:
            staged.found.append(await _run_guarded(check, staged))
        staged.found.extend(
            await asyncio.gather(*(_run_guarded(check, staged) for check in at_once))
        )
        return tuple(staged.found)


async def _run_guarded(check: StagingCheck, staged: StagingContext) -> Check:
    try:
        return await check.run(staged)
    except httpx.HTTPError as error:
        sentence = f"the staging scorer broke: {type(error).__name__}: {error}"
    except InvalidError as error:
        sentence = str(error)
    except (LookupError, ValueError, TypeError) as error:
        sentence = f"not understood: {type(error).__name__}: {error}"
    return verdict_of(check.name, "failed", sentence)
