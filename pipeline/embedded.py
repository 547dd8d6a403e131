"""The pipeline on one machine, without a server: the DAG executed in one process, its stages' lines shown as they come.

`airflow dags test` runs the tasks of the DAG one after the other and keeps the run in Airflow's database. It writes no
task logs, so that they are written here, where the page looks for them.
"""

import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline import console
from pipeline.airflow_home import (
    DAG_ID,
    airflow_command,
    airflow_environment,
    airflow_home,
    fail_abandoned_runs,
    full_log,
    is_held,
    is_paused,
    only_one,
    set_up,
)
from pipeline.errors import TransientError, UserError
from pipeline.params import load_params
from pipeline.preflight import check_inputs

#: Signals after which Airflow is killed.
MAX_SIGNALS = 20
#: The logger through which Airflow passes a command's lines on, and what it says itself.
COMMAND_LOGGER = "SubprocessHook"
COMMAND_NOISE = re.compile(r"Tmp dir root|Running command:|Output:|Command exited with return code (?P<code>-?\d+)")
#: What DVC says at the end of each stage, and the JSON object for machines.
STAGE_NOISE = re.compile(
    r"Updating lock file|Generating lock file|To track the changes|\s*git add|To enable auto|\s*dvc config|"
    r"Use `dvc push`|> python -m pipeline|Running stage|Data and pipelines are up|\{.*\}$|$"
)
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
        event = str(entry.get("event", ""))
        self._run_id = entry["run_id"] if event == RUN_CREATED else self._run_id
        if start := TASK_STARTS.match(event):
            self._start_task(start[1])
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
        elif not STAGE_NOISE.match(line):
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
    with only_one("run", "another `run`"):
        set_up(checkout)
        if is_held("ui") and not is_paused():
            raise UserError(
                f"the scheduler of the open Airflow page would run this too: pause the DAG {DAG_ID} there, "
                "trigger the run on the page (with in_place), or close the page."
            )
        fail_abandoned_runs()
        follower = Follower(airflow_home() / "logs")
        try:
            code = _follow(follower)
        finally:
            fail_abandoned_runs()
    if code:
        console.say(f"The full log is {full_log()}.")
    return code


@contextmanager
def _stopping(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGINT on to Airflow as SIGTERM, every second until it ends; yields those received.

    Airflow ends the command of the task at work, fails the run and ends by itself; between two tasks it does not heed.
    """
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        process.send_signal(signal.SIGTERM if len(received) < MAX_SIGNALS else signal.SIGKILL)
        signal.setitimer(signal.ITIMER_REAL, 1.0)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before: Mapping[int, Any] = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(follower: Follower) -> int:
    command = airflow_command("dags", "test", DAG_ID, "--conf", json.dumps({"in_place": True}))
    environment = airflow_environment() | {"AIRFLOW__LOGGING__JSON_LOGS": "True"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    with _stopping(process) as received, full_log().open("a") as log:
        assert process.stdout
        for line in process.stdout:
            log.write(line)
            log.flush()
            follower.read(line)
        returncode = process.wait()
    if received:
        return 128 + received[0]
    return (follower.exit_code or 1) if returncode else 0
