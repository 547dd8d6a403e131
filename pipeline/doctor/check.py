"""A check, what it finds, and how many run side by side."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Literal

from pipeline.errors import WsolError, reason

State = Literal["good", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        subject: one word.
        state: a fault keeps the pipeline from working, a warning does not.
        text: what was found and, unless it is good, what to do.
    """

    subject: str
    state: State
    text: str


@dataclass(frozen=True)
class Check:
    """Something to look at.

    Attributes:
        subject: one word.
        look: what finds it; what it raises is a fault with its message.
        limit: seconds that it may take; beyond them it is a warning.
    """

    subject: str
    look: Callable[[], Iterable[Finding]]
    limit: float = 20.0


def run_checks(checks: Iterable[Check]) -> Iterator[Finding]:
    """What the checks find, in their order; all are at work at the same time, each no longer than its limit."""
    started = [(check, _start(check)) for check in checks]
    start = time.monotonic()
    for check, found in started:
        try:
            yield from found.get(timeout=max(0.0, start + check.limit - time.monotonic()))
        except Empty:
            text = f"no answer within {check.limit:.0f} s; try again when the machine and its network are less busy"
            yield Finding(check.subject, "warning", text)


def _start(check: Check) -> "Queue[list[Finding]]":
    found: Queue[list[Finding]] = Queue()
    # A daemon: one that hangs does not keep the command from ending.
    threading.Thread(target=lambda: found.put(_look(check)), daemon=True).start()
    return found


def _look(check: Check) -> list[Finding]:
    try:
        return list(check.look())
    except WsolError as error:
        return [Finding(check.subject, "fault", " ".join(str(error).split()))]
    except Exception as error:
        # Whatever is broken: the other checks go on.
        return [Finding(check.subject, "fault", f"{type(error).__name__}: {reason(error)}")]
