"""The command line: the commands of :mod:`pipeline.commands.table`, and how each of them ends.

Exit codes: 0 done; 2 the user's mistake (message says which key or file); 75 a transient fault, run it again later;
129, 130, 131 or 143 interrupted (SIGHUP, SIGINT, SIGQUIT, SIGTERM); 137 killed, by hand or because memory ran out: run
it again; 141 nobody reads stdout any more; 1 anything else.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from pipeline import console
from pipeline.commands.command_line import run_command_line
from pipeline.errors import UserError, WsolError, kept_back
from pipeline.system.keeper import STOPPING, handle_stopping
from pipeline.system.outcome import leave_outcome
from pipeline.system.processes import end_with_starter


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    # As PID 1 of a container a process ignores SIGTERM unless it handles it. Its keeper, and the thread that watches
    # over DVC, say it again: that must not cut the clean-up short, which the keeper's SIGKILL bounds.
    for other in STOPPING:
        if other != signal.SIGINT:
            signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def main() -> NoReturn:
    """Run the command line; deliberate errors become a message and their exit code, without a traceback."""
    handle_stopping(_stop)
    end_with_starter()
    # Threads of torch that wait must not spin: beside any other busy process that costs most of the speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code: int | str | None = 1
    message = ""
    try:
        run_command_line()
    except WsolError as error:
        code, message = error.exit_code, str(error)
    except OSError as error:
        if not error.filename or isinstance(error, FileNotFoundError):
            raise
        code, message = UserError.exit_code, str(kept_back(error))
    except KeyboardInterrupt:
        code, message = 128 + signal.SIGINT, "interrupted"
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        leave_outcome(code, message)
    if message:
        console.fail(message)
    _close_stdout()
    sys.exit(code)


def _close_stdout() -> None:
    """Python would write what is left in the buffer at its end, and complain about the reader that has gone."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
