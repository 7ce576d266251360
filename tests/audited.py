"""Processes that read hostile input under an audit hook, which nothing takes off again."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any


async def run_audited(module: str, *arguments: str) -> Any:
    """What the module prints as JSON; AssertionError with its last words where it fails."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parents[1],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, why = await process.communicate()
    assert process.returncode == 0, why.decode()[-2000:]
    return json.loads(said)
