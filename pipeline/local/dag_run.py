"""The pipeline on one machine, without a server: the DAG executed in one process, its stages' lines shown as they come.

`airflow dags test` runs the tasks of the DAG one after the other and keeps the run in Airflow's database. It writes no
task logs, so that they are written here, where the page looks for them.
"""

import json
import re
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import IO

from pipeline import console
from pipeline.errors import TransientError, UserError
from pipeline.execution.preflight import check_inputs
from pipeline.local.airflow_home import (
    DAG_ID,
    airflow_command,
    airflow_environment,
    airflow_home,
    check_places,
    fail_abandoned_runs,
    full_log,
    is_paused,
    lock_file,
    set_up,
)
from pipeline.params import load_params
from pipeline.system.dvc import NOISE
from pipeline.system.locks import exclusive_lock, is_held
from pipeline.system.processes import exit_code, kept, passing_on_signals, signal_name

#: Seconds until Airflow must have ended that was told to.
STOP_LIMIT = 20.0
#: The logger through which Airflow passes a command's lines on, and what it says itself.
COMMAND_LOGGER = "SubprocessHook"
COMMAND_NOISE = re.compile(r"Tmp dir root|Running command:|Output:|Command exited with return code (?P<code>-?\d+)")
TASK_STARTS = re.compile(r"\[DAG TEST\] starting task_id=(\S+)")
RUN_CREATED = "creating dag run"


class Follower:
    """Reads the JSON lines of ``airflow dags test``: shows those of the stages, files all of them by task.

    Attributes:
        exit_code: of the last command that failed; 0 while none has.
    """

    def __init__(self, logs: Path) -> None:
        self.exit_code = 0
        self._logs = logs
        self._run_id = ""
        self._tries: Counter[str] = Counter()
        self._task_log: Path | None = None

    def read(self, line: str) -> None:
        """Take one line."""
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if not isinstance(entry, dict):
            return
        event = str(entry.get("event", ""))
        self._run_id = entry["run_id"] if event == RUN_CREATED else self._run_id
        if start := TASK_STARTS.match(event):
            self._start_task(start[1])
        # The run is worth more than its log.
        with suppress(OSError):
            if self._task_log:
                with self._task_log.open("a") as stream:
                    stream.write(line)
        if str(entry.get("logger", "")).endswith(COMMAND_LOGGER):
            self._show(event)

    def _start_task(self, task: str) -> None:
        self._tries[task] += 1
        folder = self._logs / f"dag_id={DAG_ID}" / f"run_id={self._run_id}" / f"task_id={task}"
        folder.mkdir(parents=True, exist_ok=True)
        self._task_log = folder / f"attempt={self._tries[task]}.log"
        console.say(f"── {task}" + (f", try {self._tries[task]}" if self._tries[task] > 1 else ""))

    def _show(self, line: str) -> None:
        if noise := COMMAND_NOISE.match(line):
            code = int(noise["code"] or 0)
            self.exit_code = code or self.exit_code
            if code == TransientError.exit_code:
                console.say("   a fault that may pass: Airflow waits and tries again, unless this was the last try")
        elif not (NOISE.match(line) or line.startswith("Running stage")):
            console.say(f"   {line}")


def run_pipeline(checkout: Path) -> int:
    """Execute the DAG on the checkout itself.

    Returns:
        0, or the exit code of the stage that failed, or 1 where Airflow itself did.

    Raises:
        TransientError: another run is at work.
        UserError: parameters or inputs are wrong, or a scheduler would take part in the run.
    """
    # Airflow reads params.yaml for its form, and would fail on a wrong one with less to say.
    check_inputs(load_params())
    check_places(checkout)
    with exclusive_lock(lock_file("run"), "another `run`") as lock:
        set_up(checkout)
        if is_held(lock_file("ui")) and not is_paused():
            raise UserError(
                f"the scheduler of the open Airflow page would run this too: pause the DAG {DAG_ID} there, "
                "trigger the run on the page (with in_place), or close the page."
            )
        fail_abandoned_runs()
        follower = Follower(airflow_home() / "logs")
        try:
            code = _follow(follower, lock)
        finally:
            fail_abandoned_runs()
    if code:
        console.say(f"The full log is {full_log()}.")
    return code


def _follow(follower: Follower, lock: IO[str]) -> int:
    """Run Airflow to its end; returns the exit code.

    Stopped, it ends the command of the task at work, fails the run and ends by itself; it heeds SIGTERM only, and not
    between two tasks.
    """
    command = airflow_command("dags", "test", DAG_ID, "--conf", json.dumps({"in_place": True}))
    environment = airflow_environment() | {"AIRFLOW__LOGGING__JSON_LOGS": "True"}
    with (
        kept(
            command, STOP_LIMIT, repeat=1.0, locks=[lock], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process,
        passing_on_signals(process, signal.SIGTERM) as received,
        full_log().open("a") as log,
    ):  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            with suppress(OSError):
                log.write(line)
                log.flush()
            follower.read(line)
        returncode = exit_code(process)
    if received:
        return 128 + received[0]
    if returncode > 128:
        console.warn(f"Airflow was ended by {signal_name(returncode)}; run again to go on")
        return returncode
    return (follower.exit_code or 1) if returncode else 0
