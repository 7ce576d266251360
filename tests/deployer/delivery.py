"""Delivers events to the deployer's handlers as its consumers do."""

import json
from typing import Any

import sqlalchemy as sa

from loopwright_common.bus.interface import EventBus
from loopwright_common.cloudevents.codec import encode
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.handlers import bind
from loopwright_common.delivery.retry_policy import RetryPolicy
from loopwright_common.events import EventData
from loopwright_common.observability.metrics import Metrics
from loopwright_deployer.handlers import COUNTER_HANDLERS, LIFECYCLE_HANDLERS, DeployerContext
from tests.deployer.builders import event_of


async def emitted(database: Database, topic: str) -> list[dict[str, Any]]:
    """What was emitted to the topic, oldest first."""
    query = sa.select(outbox.c.payload).where(outbox.c.aggregatetype == topic)
    async with database.read() as connection:
        rows = (await connection.scalars(query.order_by(outbox.c.position))).all()
    return [json.loads(row) for row in rows]


async def deliver(database: Database, bus: EventBus, *payloads: EventData, times: int = 1) -> None:
    context = DeployerContext("production", lambda _model: None, lambda _model: None)
    handlers = bind({**LIFECYCLE_HANDLERS, **COUNTER_HANDLERS}, context)
    patience = RetryPolicy(delays=(0.0, 0.0))
    consumer = Consumer("deployer.test", handlers, database, bus, Metrics(), retry_policy=patience)
    events = [event_of(data) for data in payloads]
    for _ in range(times):
        await bus.publish([encode(event) for event in events])
    topics = sorted({payload.topic for payload in handlers})
    subscription = await bus.subscribe("deployer.test", topics, consumer._load_positions)
    for _ in range(4):
        await consumer.step(subscription, wait=0.05)
    await subscription.close()
