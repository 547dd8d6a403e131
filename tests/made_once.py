"""What costs long is made once for all processes of one test run."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process to ask for it has filled; the others wait, and nobody changes it."""
    base = factory.getbasetemp()
    # A process of xdist has a folder of its own in that of the run.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    ready = shared / f"{name}.path"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            folder = tempfile.mkdtemp(prefix=f"{name}-", dir=shared)
            make(Path(folder))
            ready.write_text(folder)
    return Path(ready.read_text())
