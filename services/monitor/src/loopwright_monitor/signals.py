"""How handlers wake the workers."""

import asyncio


class WakeSignals:
    """Signals to the workers; they look by themselves now and then, so a lost one does no harm."""

    def __init__(self) -> None:
        self.profiles = asyncio.Event()
        self.review = asyncio.Event()
        self.labels = asyncio.Event()
