"""Commands in forked children: each takes as long as its work, as nothing is imported again."""

import faulthandler
import importlib
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import torch

import pipeline
from pipeline.cli import main

#: Seconds after which a command hangs, and bytes that it may allocate beyond what it was forked with.
LIMIT, MEMORY = 60, 3 * 2**30

for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
    if not module.name.endswith(("__main__", "keeper")):
        importlib.import_module(module.name)


class Ended(NamedTuple):
    """How a command ended; ``code`` is that of a shell, -9 for one that was stopped at its limit."""

    code: int
    text: str


def run(folder: Path, arguments: Sequence[str]) -> Ended:
    """Run ``python -m pipeline ARGUMENTS`` in a folder, with limits on its time and its memory."""
    said = folder.parent / f"{folder.name}.said"
    pid = os.fork()
    if pid == 0:
        _become(folder, arguments, said)
    deadline = time.monotonic() + LIMIT
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)
            break
        time.sleep(0.005)
    return Ended(os.waitstatus_to_exitcode(ended[1]), said.read_text(errors="replace"))


def _become(folder: Path, arguments: Sequence[str], said: Path) -> None:
    """Be the command from here on; never returns into the tests."""
    code = 99
    try:
        output = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for number, target in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
            os.dup2(target, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  pytest had its own
        faulthandler.enable(sys.stderr)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_DATA, (_data() + MEMORY, resource.RLIM_INFINITY))
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        sys.argv = ["pipeline", *arguments]
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:  # whatever it is, it is the command's, and must be seen
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _data() -> int:
    """Bytes of data that this process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData"):
            return int(line.split()[1]) * 1024
    return 0
