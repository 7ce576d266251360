"""The monitor as others meet it: events in by the bus, events out by the bus, no server."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import sqlalchemy as sa
from fastapi import FastAPI

from loopwright_common.bus.interface import EventBus, Subscription, from_start
from loopwright_common.cloudevents import codec
from loopwright_common.cloudevents.inference_logged import ENVELOPE, InferenceLogged
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import dead_letters, parked
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.delivery.handlers import bind
from loopwright_common.delivery.outbox_relay import OutboxRelay
from loopwright_common.events import (
    Dataset,
    DeploymentFinished,
    DeploymentPromoted,
    DeploymentRolledBack,
    Event,
    GroundTruthLogged,
    ModelRegistered,
    Payload,
    TrainingFinished,
)
from loopwright_common.ids import new_id, new_traceparent
from loopwright_common.observability.metrics import Metrics
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.storage.captured_tables import table_to_bytes
from loopwright_common.web.app import add_routes, create_app
from loopwright_monitor.api import create_router
from loopwright_monitor.captures import canary_labels
from loopwright_monitor.handlers import HANDLERS, MonitorContext
from loopwright_monitor.main import MIGRATIONS
from loopwright_monitor.references import reference_from_dataset, reference_from_traffic
from loopwright_monitor.references.state_repository import DetectorStates
from loopwright_monitor.retraining import service as retraining
from loopwright_monitor.signals import WakeSignals

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY: dict[str, Any] = {
    "drift": {"min_new_labels": 100, "cooldown": {"rows": 0, "time": "0s"}, "per_day": 24}
}


class MonitorHarness:
    """One monitor on real files; `settle` handles all there is, as its loops would."""

    def __init__(self, database: Database, bus: EventBus, store: ArtifactStore, batch: int):
        self.database, self.bus, self.store = database, bus, store
        metrics, signals = Metrics(), WakeSignals()
        self.relay = OutboxRelay(database, bus, metrics)
        context = MonitorContext(store, signals, "production")
        self.consumers = {
            name.removeprefix("monitor."): Consumer(
                name, bind(handlers, context), database, bus, metrics, batch=batch
            )
            for name, handlers in HANDLERS.items()
        }
        self.rows = 0
        self.sequence = 0
        self.dropped = 0
        self.run_timeout = timedelta(hours=1)

    @classmethod
    async def open(
        cls,
        stack: AsyncExitStack,
        database_url: str,
        bus: EventBus,
        store: ArtifactStore,
        batch: int = 32,
    ) -> "MonitorHarness":
        database = await Database.open(database_url, "monitor", MIGRATIONS)
        stack.push_async_callback(database.close)
        return cls(database, bus, store, batch)

    # ---- driving -------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Handle every event, build wanted profiles, review the episodes."""
        await self.consume("lifecycle")
        await reference_from_dataset.build_wanted(self.database, self.store)
        await self.consume("detect")
        await reference_from_traffic.build_collected(self.database)
        await self.consume("capture")
        await retraining.review(self.database, self.store, self.run_timeout)
        await canary_labels.count_labelled(self.database)
        while await self.relay.publish_some():
            pass

    async def consume(self, name: str) -> None:
        async with self.joined(name) as subscription:
            while await self.consumers[name].step(subscription, wait=0):
                pass

    @asynccontextmanager
    async def joined(self, name: str, group: str = "") -> AsyncGenerator[Subscription, None]:
        """A member of the consumer's group; of another, nobody tells it of the other members."""
        consumer = self.consumers[name]
        subscription = await self.bus.subscribe(
            group or consumer.name, consumer.topics, consumer._load_positions
        )
        yield subscription
        await subscription.close()

    async def told(self, *topics: str) -> list[Event[Any]]:
        """Everything on these topics, oldest first."""
        ends = await self.bus.ends(topics)
        subscription = await self.bus.subscribe(None, topics, from_start)
        found = await subscription.fetch(1000, 0)
        while not await subscription.has_reached(ends):
            found += await subscription.fetch(1000, 0.1)
        await subscription.close()
        return [codec.decode(record) for record in found]

    def app(self) -> FastAPI:
        app = create_app("monitor", Metrics(), {})
        add_routes(app, create_router(self.database, self.store))
        return app

    async def state_of(self, stream: str) -> bytes:
        async with self.database.read() as connection:
            found = await DetectorStates(connection).load("m1", 1, stream)
        return found.state if found else b""

    async def parked(self) -> int:
        async with self.database.read() as connection:
            return len((await connection.execute(sa.select(parked))).all())

    async def dead_letters(self) -> list[str]:
        async with self.database.read() as connection:
            return list((await connection.scalars(sa.select(dead_letters.c.error))).all())

    async def get(self, path: str) -> Any:
        return await self._call("GET", path, 200)

    async def post(self, path: str, status: int = 201) -> Any:
        return await self._call("POST", path, status)

    async def _call(self, method: str, path: str, status: int) -> Any:
        transport = httpx.ASGITransport(self.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.request(method, path)
        assert answer.status_code == status, answer.text
        return answer.json()

    # ---- events of others ----------------------------------------------------------------------

    async def say(
        self,
        data: Payload,
        key: str = "m1",
        chain: str | None = None,
        causes: Any = (),
        second: int = 0,
    ) -> Event[Any]:
        event_id = new_id()
        event = Event(
            id=event_id,
            source="test",
            subject="models/bank",
            time=START + timedelta(seconds=second),
            key=key,
            chain_id=chain or event_id,
            causes=tuple(causes),
            traceparent=new_traceparent(),
            data=data,
        )
        await self.bus.publish([codec.encode(event)])
        return event

    async def register(
        self,
        training: pa.Table | None,
        version: int = 1,
        pipeline: str | None = "bank",
        monitor: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        datasets = []
        if training is not None:
            blob = await self.store.put(table_to_bytes(training))
            where = self.store.location(blob.digest)
            datasets.append(
                Dataset(role="training", digest=blob.digest, location=where,
                        rows=training.num_rows, target="y")
            )  # fmt: skip
        await self.say(
            ModelRegistered(
                model_id="m1", model="bank", version=version, digest="sha256:" + "0" * 64,
                location="x", format="onnx", pipeline=pipeline, datasets=datasets,
                monitor=POLICY if monitor is None else monitor, **more,
            )
        )  # fmt: skip

    async def promote(
        self,
        version: int = 1,
        chain: str | None = None,
        environment: str = "production",
        second: int = 0,
        **more: Any,
    ) -> None:
        data = DeploymentPromoted(
            deployment_id=f"d{version}", environment=environment, model_id="m1", model="bank",
            version=version, why="test", **more,
        )  # fmt: skip
        await self.say(data, key=f"{environment}/m1", chain=chain, second=second)

    async def roll_back(self, version: int, to: int, second: int = 0) -> None:
        data = DeploymentRolledBack(
            deployment_id=f"d{version}", environment="production", model_id="m1", model="bank",
            version=version, previous=to, why="test",
        )  # fmt: skip
        await self.say(data, key="production/m1", second=second)

    async def reject(self, version: int, chain: str | None = None) -> None:
        data = DeploymentFinished(
            deployment_id=f"d{version}", environment="production", model_id="m1", model="bank",
            version=version, outcome="rejected", why="no better",
        )  # fmt: skip
        await self.say(data, key="production/m1", chain=chain)

    async def finish_training(
        self, status: Any, chain: str | None, version: int | None = None, causes: Any = ()
    ) -> None:
        data = TrainingFinished(
            pipeline="bank", run_id="r", commit="c", reason="drift", status=status,
            why="stage train failed", seconds=1, version=version,
        )  # fmt: skip
        await self.say(data, key="bank", chain=chain, causes=causes)

    async def score(
        self,
        inputs: dict[str, Sequence[Any]],
        scores: Sequence[float] | None = None,
        version: int | Sequence[int] = 1,
        arm: str = "live",
        redacted: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        **more: Sequence[Any],
    ) -> list[str]:
        """Log one batch; returns its prediction ids."""
        count = len(next(iter(inputs.values())))
        ids = [f"p{self.rows + i:07}.0" for i in range(count)]
        values = list(scores) if scores is not None else [0.2] * count
        table = pa.table(
            {
                "prediction_id": ids,
                "request_id": [f"r-{each}" for each in ids],
                "time": [START + timedelta(seconds=self.rows + i) for i in range(count)],
                "version": [version] * count if isinstance(version, int) else version,
                "arm": [arm] * count,
                "error": [None] * count,
            },
            schema=ENVELOPE,
        )
        for name, column in inputs.items():
            table = table.append_column(f"input.{name}", pa.array(column))
        labels = pa.array(["yes" if value > 0.5 else "no" for value in values])
        table = table.append_column("output.label", labels)
        table = table.append_column("output.score", pa.array(values, pa.float64()))
        for name, column in more.items():
            at = table.column_names.index(name)
            table = table.set_column(at, name, pa.array(column, table.schema.field(name).type))
        table = table.drop_columns(list(without))
        self.rows += count
        batch = InferenceLogged(
            model_id="m1", model="bank", replica="s1", epoch="e1", sequence=self.sequence,
            dropped=self.dropped, last=False, table=table, redacted=redacted,
        )  # fmt: skip
        self.sequence += 1
        await self.say(batch)
        return ids

    async def label(
        self, ids: Sequence[str], labels: Sequence[Any], kind: Any = "prediction", second: int = 0
    ) -> None:
        data = GroundTruthLogged(
            model_id="m1", model="bank", ids=list(ids), labels=list(labels), id_kind=kind,
            at=START + timedelta(days=1, seconds=second),
        )  # fmt: skip
        await self.say(data)
