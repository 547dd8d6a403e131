"""A small process between a command and what it starts: whichever of the two ends, and how, nothing stays behind.

A command that is killed (SIGKILL, out of memory) can stop nothing itself, and the processes in between, DVC, Airflow
and its workers, MLflow, neither pass signals on nor notice the death of their parent. So the command starts them below
a keeper, which

* reads from a pipe whose other end only the command holds: its end of file is the command's death;
* is Linux's "child subreaper" (prctl(2)): a process whose parent has died becomes a child of the keeper, also one in a
  session of its own, so that all of them are found;
* is in a session of its own, so that no signal to the command's group or terminal reaches it unasked.

The kernel's signal at the parent's death (PR_SET_PDEATHSIG) would not do: it is not inherited, so that it misses the
processes of foreign programs. On other systems than Linux the command's process group alone is ended.

Run by path, as ``keeper.py LIFELINE GRACE REPEAT COMMAND …``; it must not import the pipeline, which may be another
revision where the command runs. It ends with the command's exit code, 128 + signal for one that was killed.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

#: Signals that end a command. All but Ctrl-C's are passed on as SIGTERM: foreign programs handle no other.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: Seconds after SIGKILL in which everything must be gone; only a process that hangs in the kernel is not.
UNKILLABLE = 10.0
#: Names the process that a command works for, and ends with: its keeper, or the task of an Airflow elsewhere.
STARTER = "WSOL_STARTER"
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of every process below it whose own parent dies; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def handle_stopping(handler: Callable[[int, FrameType | None], object]) -> dict[int, Any]:
    """Set the handler of all signals that end a command, but for SIGHUP under nohup; returns the former ones."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return {n: signal.signal(n, handler) for n in STOPPING if not (n == signal.SIGHUP and ignored)}


def signal_descendants(number: int) -> None:
    """Send a signal to every process below this one."""
    # Seldom needed, and slow to import.
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Keeper:
    """Runs a command and ends all that it started.

    Args:
        command: to run, in a process group of its own.
        lifeline: file descriptor that shows an end of file when the command that asked for it dies.
        grace: seconds between the first signal and SIGKILL.
        repeat: seconds after which SIGTERM is sent again to a command that may not have heeded the first; 0 for never.
    """

    def __init__(self, command: list[str], lifeline: int, grace: float, repeat: float) -> None:
        self._lifeline: list[int] = [lifeline]
        self._grace, self._repeat = grace, repeat
        self._stopping_since = self._next_signal = float("inf")
        self._exit_code: int | None = None
        self._rest_is_told = False
        self._wakeup, wakeup = os.pipe()
        for end in (self._wakeup, wakeup):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup)
        handle_stopping(lambda *_: None)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        environment = os.environ | {STARTER: str(os.getpid())}
        self._pid = subprocess.Popen(command, process_group=0, env=environment).pid

    def run(self) -> int:
        """Wait until the command and all that it started have ended; returns its exit code."""
        while self._reap():
            at_rest = self._exit_code is None and self._stopping_since == float("inf")
            waiting = None if at_rest else 0.05
            ready, _, _ = select.select([self._wakeup, *self._lifeline], [], [], waiting)
            if self._wakeup in ready:
                for number in set(os.read(self._wakeup, 4096)) & set(STOPPING):
                    self._stop(number if number == signal.SIGINT else signal.SIGTERM)
            if set(self._lifeline) & set(ready):
                self._lifeline = []
                self._stop(signal.SIGTERM)
            self._press(time.monotonic())
        return 1 if self._exit_code is None else self._exit_code

    def _reap(self) -> bool:
        """Collect what has ended; returns whether anything is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return time.monotonic() < self._stopping_since + self._grace + UNKILLABLE
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)
                self._exit_code = code if code >= 0 else 128 - code

    def _stop(self, number: int) -> None:
        now = time.monotonic()
        self._stopping_since = min(self._stopping_since, now)
        self._next_signal = now + self._repeat if self._repeat else float("inf")
        if self._exit_code is not None:
            signal_descendants(number)
        else:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, number)

    def _press(self, now: float) -> None:
        """What has been told to end and has not, or has outlived the command."""
        if now > self._stopping_since + self._grace:
            signal_descendants(signal.SIGKILL)
        elif now > self._next_signal or (self._exit_code is not None and not self._rest_is_told):
            self._rest_is_told = self._exit_code is not None
            self._stop(signal.SIGTERM)


def main() -> None:
    """Run the command line."""
    adopt_orphans()
    lifeline, grace, repeat = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    sys.exit(Keeper(sys.argv[4:], lifeline, grace, repeat).run())


if __name__ == "__main__":
    main()
