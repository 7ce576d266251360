"""Reference profiles of registered versions: wanted on registration, built by a job."""

import asyncio
import json
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from loopwright_common.database import Database, UnitOfWork
from loopwright_common.database.leases import Lease, confirm
from loopwright_common.deploy_policy import MonitorPolicy
from loopwright_common.errors import CorruptError, InvalidError, NotFoundError, without_paths
from loopwright_common.events import Dataset, ModelRegistered
from loopwright_common.failpoints import failpoint
from loopwright_common.policy_reader import PolicyError, read_policy
from loopwright_common.storage import ArtifactStore
from loopwright_monitor.detectors.profile import Profile
from loopwright_monitor.references.builder import build_reference
from loopwright_monitor.references.dataset_reader import LARGEST_FILE, read_dataset
from loopwright_monitor.references.state_repository import Profiles
from loopwright_monitor.store import exclusive_jobs
from loopwright_monitor.watched.repository import WatchedModels
from loopwright_monitor.watched.version_repository import WatchedVersion, WatchedVersions

log = structlog.get_logger()
_MAX_CLASSES = 100
_NOT_INPUTS = frozenset({"time", "prediction_id", "request_id", "label", "label_time"})


async def register_version(uow: UnitOfWork, data: ModelRegistered) -> None:
    """Know the version from now on; its profile is a job."""
    training = next((each for each in data.datasets if each.role == "training"), None)
    policy, complaint = _policy(data.monitor)
    await WatchedModels(uow.connection).ensure(data.model_id, data.model)
    await WatchedVersions(uow.connection).add(
        WatchedVersion(
            model_id=data.model_id,
            model=data.model,
            version=data.version,
            pipeline=data.pipeline,
            training=training.digest if training else None,
            target=_target(data.datasets),
            inputs=_inputs(data.signature),
            policy=policy,
            profile_state="wanted" if training else "collecting",
            profile_why=complaint or ("" if training else "no training dataset was registered"),
        )
    )


async def build_wanted(database: Database, store: ArtifactStore) -> None:
    """Build every profile that is wanted; a dataset that cannot be used leaves its reason.

    UnavailableError while the database or the artifact store is away.
    """
    async with database.read() as connection:
        wanted = await WatchedVersions(connection).wanting_profile()
    for version in wanted:
        name = f"profile/{version.model_id}/{version.version}"
        await exclusive_jobs.run_exclusively(
            database, name, partial(_build, database, store, version)
        )


async def _build(
    database: Database, store: ArtifactStore, wanted: WatchedVersion, lease: Lease
) -> None:
    async with database.read() as connection:
        version = await WatchedVersions(connection).get(wanted.model_id, wanted.version)
    if version is None or version.profile_state != "wanted":
        return  # another monitor was faster
    try:
        profile, classes = await _read(store, version)
    except (NotFoundError, CorruptError, InvalidError) as error:
        await _collect_instead(database, version, str(error), lease)
        return
    failpoint("monitor.profile-built")
    async with database.unit_of_work() as uow:
        await confirm(uow, lease)
        await Profiles(uow.connection).add(profile.digest, profile.to_json())
        versions = WatchedVersions(uow.connection)
        why = version.why_ready(profile.source)
        await versions.set_profile(version, "ready", why, profile.digest)
        await versions.set_classes(version, classes)
    log.info("profile.built", model=version.model, version=version.version,
             features=len(profile.features), rows=profile.rows)  # fmt: skip


async def _collect_instead(
    database: Database, version: WatchedVersion, reason: str, lease: Lease
) -> None:
    log.warning("profile.not-built", model=version.model, version=version.version, why=reason)
    async with database.unit_of_work() as uow:
        await confirm(uow, lease)
        await WatchedVersions(uow.connection).set_profile(version, "collecting", reason)


async def _read(store: ArtifactStore, version: WatchedVersion) -> tuple[Profile, list[str] | None]:
    digest = version.training or ""
    if (await store.size(digest) or 0) > LARGEST_FILE:
        raise InvalidError(
            f"the training dataset has more than {LARGEST_FILE >> 20} MiB: register a sample of it"
        )
    body = await store.get(digest)
    return await asyncio.to_thread(_profiled, version, body)


def _profiled(version: WatchedVersion, body: bytes) -> tuple[Profile, list[str] | None]:
    try:
        table = read_dataset(body)
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(
            f"the training dataset does not read as Parquet: {without_paths(error)}"
        ) from None
    if "time" in table.column_names:
        order = pc.sort_indices(table, sort_keys=[("time", "ascending", "at_start")])
        table = table.take(order)
    names = _columns(version, table)
    source = f"{table.num_rows:,} training rows"
    return build_reference(table, names, version.strictness, source), _classes(version, table)


def _columns(version: WatchedVersion, table: pa.Table) -> list[str]:
    """The dataset's columns that are inputs of the version."""
    left_out = _NOT_INPUTS | {version.target}
    names = [name for name in table.column_names if name not in left_out]
    if version.inputs is not None:
        names = [name for name in names if name in version.inputs]
    if not names or table.num_rows == 0:
        raise InvalidError(
            f"the training dataset has no rows of the version's inputs "
            f"({', '.join(version.inputs or []) or 'none are named'}); its columns are "
            f"{', '.join(table.column_names) or 'none'}: register what the version was trained on"
        )
    return names


def _classes(version: WatchedVersion, table: pa.Table) -> list[str] | None:
    """A classifier's classes as JSON, sorted as scikit-learn sorts them; None where unclear."""
    if version.target is None or version.target not in table.column_names:
        return None
    column = table[version.target].drop_null()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = pc.unique(column)
    if len(values) > _MAX_CLASSES or (pa.types.is_floating(values.type) and len(values) > 2):
        return None
    return [json.dumps(value) for value in sorted(values.to_pylist())]


def _policy(declared: dict[str, Any] | None) -> tuple[MonitorPolicy, str]:
    """The policy, or the defaults with what was wrong with it."""
    try:
        return read_policy(MonitorPolicy, declared), ""
    except PolicyError as error:
        return MonitorPolicy(), f"monitor: {error}; the defaults are used"


def _target(datasets: list[Dataset]) -> str | None:
    return next((each.target for each in datasets if each.target), None)


def _inputs(signature: dict[str, Any] | None) -> list[str] | None:
    """Names under which the scorer logs the inputs; None where the signature does not say."""
    names: list[str] = []
    for each in (signature or {}).get("inputs") or []:
        if not isinstance(each, dict):
            return None
        name = str(each.get("name") or "input")
        spec = each.get("tensor-spec")
        if spec is None:
            names.append(name)
            continue
        size = 1
        for side in spec.get("shape", [])[1:]:
            size *= max(int(side), 1)
        names += [f"{name}_{i}" for i in range(min(size, 4096))]
    return names or None
