"""Commands that are not ours, kept from everything but what they were given.

`require` gives the strongest `Sandbox` that the machine permits; its `wrap` turns a command and a
`Policy` into the arguments to start. The launcher inside is run by its path.
"""

from loopwright_common.sandbox.cgroups import ran_out_of_memory
from loopwright_common.sandbox.detection import detect, require
from loopwright_common.sandbox.gateway import await_listener, receive_listener
from loopwright_common.sandbox.levels import Level, SandboxTooWeakError, weakest
from loopwright_common.sandbox.policy import Gateway, Limits, Policy
from loopwright_common.sandbox.sandbox import Sandbox

__all__ = [
    "Gateway",
    "Level",
    "Limits",
    "Policy",
    "Sandbox",
    "SandboxTooWeakError",
    "await_listener",
    "detect",
    "ran_out_of_memory",
    "receive_listener",
    "require",
    "weakest",
]
