"""The job that declares every topic on Kafka.

`python -m loopwright_common.process.declare_topics` declares all of them on the Kafka of
LOOPWRIGHT_BUS_URL, under LOOPWRIGHT_TOPIC_PREFIX; it may run any number of times.
"""

import asyncio
import os
from collections.abc import Sequence

from loopwright_common.bus import all_topics
from loopwright_common.bus.kafka import Cluster, declare_topics
from loopwright_common.errors import LoopwrightError, scheme_alone
from loopwright_common.events import Topic


async def ensure_topics(url: str, prefix: str = "", topics: Sequence[Topic] | None = None) -> int:
    """Create what is missing on a Kafka and mend what is kept otherwise; returns how many changed.

    InvalidError names a topic whose number of partitions differs: keys would move to others.
    UnavailableError says why Kafka did not do it.
    """
    if not url.startswith("kafka://"):
        return 0
    cluster = Cluster.parse(url, prefix)
    return await declare_topics(cluster, all_topics() if topics is None else topics)


def main() -> None:
    url = os.environ.get("LOOPWRIGHT_BUS_URL", "")
    if not url.startswith("kafka://"):
        shown = scheme_alone(url)
        raise SystemExit(f"LOOPWRIGHT_BUS_URL is {shown!r}; give kafka://HOST:PORT[,HOST:PORT]")
    try:
        changed = asyncio.run(ensure_topics(url, os.environ.get("LOOPWRIGHT_TOPIC_PREFIX", "")))
    except LoopwrightError as error:
        raise SystemExit(str(error)) from None
    print(f"{len(all_topics())} topics are as declared, {changed} of them made or changed now")  # noqa: T201  (the job's last line)


if __name__ == "__main__":
    main()
