"""`python -m loopwright.engines`: fetch and make what the engines need, so that no start has to.

With `--jars`, only what no start can do without.
"""

import sys

from loopwright.engines.class_archive import make_class_archive
from loopwright.engines.jars import fetch_jars
from loopwright_common.errors import LoopwrightError


def main() -> None:
    try:
        sys.stdout.write(f"Kafka's jars are in {fetch_jars()}\n")
        if "--jars" not in sys.argv:
            sys.stdout.write(f"Kafka's classes are in {make_class_archive()}\n")
    except LoopwrightError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
