"""`python -m loopwright.engines`: fetch what the engines need, so that no start has to."""

import sys

from loopwright.engines.jars import fetch_jars
from loopwright_common.errors import LoopwrightError


def main() -> None:
    try:
        sys.stdout.write(f"Kafka's jars are in {fetch_jars()}\n")
    except LoopwrightError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
