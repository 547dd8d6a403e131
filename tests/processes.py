"""Waiting for processes that a test started indirectly."""

import time
from collections.abc import Callable
from pathlib import Path

LIMIT = 60.0


def wait_for(condition: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
    """Return once the condition holds; fail after so many seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit:.0f} s for {what}"
        time.sleep(0.05)


def wait_for_pid(path: Path) -> int:
    """The process id that a started process writes into a file."""
    wait_for(lambda: path.exists() and path.read_text() != "", str(path))
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
