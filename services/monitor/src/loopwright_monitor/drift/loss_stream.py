"""Concept drift: the champion's losses are a stream that grows as labels come."""

from collections.abc import Sequence

import pyarrow as pa

from loopwright_common.database import UnitOfWork
from loopwright_monitor.drift.service import learn_stream
from loopwright_monitor.watched.repository import WatchedModels
from loopwright_monitor.watched.streams import LOSSES, WatchedStream
from loopwright_monitor.watched.version_repository import WatchedVersions


async def learn_losses(
    uow: UnitOfWork, model_id: str, number: int, name: str, losses: Sequence[float]
) -> None:
    """Learn the losses `name`, one per newly labelled row of a version, if it is the champion."""
    model = await WatchedModels(uow.connection).get(model_id)
    version = await WatchedVersions(uow.connection).get(model_id, number)
    if model is None or version is None or model.champion != number or not losses:
        return
    if version.policy.concept == "none":
        return
    rows = pa.table({name: pa.array(losses, pa.float64())})
    await learn_stream(uow, WatchedStream(model, version, LOSSES), rows)
