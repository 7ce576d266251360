"""How the champion's inputs compare with their reference by now, as the API and metrics show it."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_monitor.detectors.e_detector import evidence_process
from loopwright_monitor.detectors.e_process import EvidenceProcess
from loopwright_monitor.detectors.profile import Profile
from loopwright_monitor.references.state_repository import DetectorStates, load_reference
from loopwright_monitor.watched.streams import INPUTS
from loopwright_monitor.watched.version_repository import WatchedVersion


@dataclass(frozen=True, slots=True)
class ReferenceComparison:
    """What the inputs of a version are compared with, and where the comparison stands."""

    profile: Profile
    process: EvidenceProcess | None


async def compare_with_reference(
    connection: AsyncConnection, version: WatchedVersion
) -> ReferenceComparison | None:
    """None while the version has no profile; NotFoundError where its profile is not stored."""
    if version.profile is None:
        return None
    reference = await load_reference(connection, version.profile)
    return ReferenceComparison(reference.profile, await champion_evidence(connection, version))


async def champion_evidence(
    connection: AsyncConnection, version: WatchedVersion
) -> EvidenceProcess | None:
    """Where the inputs of a version stand; None before their first row.

    NotFoundError where the profile they are compared with is not stored.
    """
    stored = await DetectorStates(connection).load(version.model_id, version.version, INPUTS)
    if stored is None or not stored.state:
        return None
    return evidence_process(await load_reference(connection, stored.profile), stored.state)
