"""Imports of libraries so large that the garbage they bring would hold up answers."""

import gc
import importlib
import sys


def import_quietly(module: str) -> None:
    """Import it, if that was not done before; ImportError where it is not there.

    Meanwhile no garbage is collected, and what it brings is never looked at for garbage again: a
    look at all of it holds every thread for a good part of a second.
    """
    if module in sys.modules:
        return
    gc.disable()
    try:
        importlib.import_module(module)
        gc.freeze()
    finally:
        gc.enable()
