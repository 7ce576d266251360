"""`loopwright demo`: an outside client that lives through two and a half years in minutes."""

import signal
from pathlib import Path

from loopwright.data_dir import Engine
from loopwright_common.files.private import use_private_umask


def main(directory: Path, rows: int | None, engine: Engine) -> int:
    """Run the demo; 0 when the loop closed honestly."""
    import asyncio

    from loopwright.demo.run import run

    use_private_umask()
    # Told to stop, it cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return asyncio.run(run(directory.resolve(), rows, engine))
    except KeyboardInterrupt:
        print("\nstopped before the end; nothing is left running")
        return 1
