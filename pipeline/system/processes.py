"""Child processes that never outlive the command that started them, and a command that never outlives its starter."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

from pipeline.system import keeper

#: Seconds between SIGTERM and SIGKILL: Airflow kills a cancelled task after 5 s, and nothing may outlive it.
GRACE = 4.0
#: Seconds for what is left below a keeper that was killed itself.
_AFTER_KEEPER = 5.0
#: Seconds between two looks at the processes that a stage works for.
_LOOK_EVERY = 0.2
#: Set by DVC for the commands of its stages, and by torchrun for its processes.
_BY_DVC, _BY_TORCHRUN = "DVC_STAGE", "TORCHELASTIC_RUN_ID"


@contextmanager
def kept(
    command: Sequence[str], grace: float = GRACE, repeat: float = 0.0, locks: Sequence[IO[str]] = (), **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own; it and all that it started have ended when the block ends.

    They also end when this process dies, whatever kills it (see :mod:`pipeline.system.keeper`).

    Args:
        command: to run.
        grace: seconds between the first signal to the command and SIGKILL to everything it started.
        repeat: seconds after which SIGTERM is sent again to a command that may not have heeded the first; 0 for never.
        locks: lock files that are held until everything has ended.
        options: of ``subprocess.Popen``.

    Yields:
        The process to wait for and to send signals to; it ends with the command's exit code, 128 + signal where the
        command was killed.
    """
    keeper.adopt_orphans()
    reading, writing = os.pipe()
    with os.fdopen(reading) as lifeline, os.fdopen(writing, "w") as own_end:
        start = [sys.executable, "-P", keeper.__file__, str(reading), str(grace), str(repeat)]
        files = [reading, *(lock.fileno() for lock in locks)]
        process = subprocess.Popen(
            [*start, *command], start_new_session=True, pass_fds=files, text=True, errors="backslashreplace", **options
        )
        lifeline.close()
        ended = threading.Event()
        _start_watching(_look_after_keeper, process.pid, ended)
        try:
            yield process
        finally:
            own_end.close()
            code = process.wait()
            ended.set()
            if code < 0:
                _end_orphans()


def run_kept(command: Sequence[str], **options: Any) -> int:
    """Run a command to its end; returns its exit code."""
    with kept(command, **options) as process:
        return exit_code(process)


def exit_code(process: subprocess.Popen[str]) -> int:
    """Wait for a process of :func:`kept`; its exit code, 128 + signal where it or its keeper was killed."""
    code = process.wait()
    return code if code >= 0 else 128 - code


def signal_name(code: int) -> str:
    """The name of the signal that an exit code above 128 stands for."""
    return signal.Signals(code - 128).name if code - 128 in set(signal.Signals) else f"signal {code - 128}"


@contextmanager
def passing_on_signals(process: subprocess.Popen[str], always: int | None = None) -> Iterator[list[int]]:
    """Pass the signals that end a command on to a process of :func:`kept`; yields the list of those received.

    Args:
        process: to signal.
        always: the signal to send, whichever is received; that one itself if not given.
    """
    received: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if process.poll() is None:
            process.send_signal(always or number)
        else:
            # The keeper was killed; what it kept are children of this process now.
            keeper.signal_descendants(signal.SIGTERM)

    before = keeper.handle_stopping(pass_on)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_watching(watch: Callable[..., None], *arguments: Any) -> None:
    """Run a function in a thread that takes no signals.

    Python handles them in the main thread, which one that the kernel gave to another thread would not wake.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        threading.Thread(target=watch, args=arguments, daemon=True).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _look_after_keeper(pid: int, ended: threading.Event) -> None:
    """End what a keeper kept when it is killed: whoever reads its output would wait for the end of that for ever.

    It leaves the keeper's exit code to whoever waits for it, and ends nothing once that is known.
    """
    if not hasattr(os, "waitid"):  # macOS
        return
    with suppress(ChildProcessError):
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        if found and found.si_code != os.CLD_EXITED and not ended.is_set():
            keeper.signal_descendants(signal.SIGTERM)
            if not ended.wait(GRACE):
                keeper.signal_descendants(signal.SIGKILL)


def _end_orphans() -> None:
    """The keeper was killed: what it kept are children of this process now."""
    keeper.signal_descendants(signal.SIGTERM)
    psutil.wait_procs(psutil.Process().children(recursive=True), _AFTER_KEEPER)
    while left := psutil.Process().children(recursive=True):
        keeper.signal_descendants(signal.SIGKILL)
        psutil.wait_procs(left, _AFTER_KEEPER)


def end_with_starter() -> None:
    """End this process when one of those ends that it works for: its keeper or Airflow task, DVC, torchrun.

    A stage whose DVC was killed would write its outputs into the next run's. One that a person starts continues:
    `nohup` is there for that.
    """
    if starters := _starters():
        _start_watching(_end_with, starters)


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that its parent has not looked after yet has."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # of another user, where those are hidden
        return True


def _starters() -> set[int]:
    starter = os.environ.get(keeper.STARTER)
    starters = {int(starter)} if starter else set()
    if _BY_TORCHRUN in os.environ:
        starters.add(os.getppid())
    if _BY_DVC in os.environ:
        starters |= _up_to_dvc()
    return starters


def _up_to_dvc() -> set[int]:
    """The parents up to DVC: between it and a stage's command there may be a shell, and torchrun."""
    parents = set()
    for parent in psutil.Process().parents():
        parents.add(parent.pid)
        if "dvc" in {Path(argument).name for argument in parent.cmdline()[:4]}:
            return parents
    return {os.getppid()}


def _end_with(starters: set[int]) -> None:
    while all(is_running(pid) for pid in starters):
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
