"""A running Compose stack as a test sees it: Airflow's and MLflow's REST API, and docker's command line."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers import request

FINAL = ("success", "failed")
#: Of the tasks, and where they lie.
VOLUMES = {"work": "/srv/wsol", "checkout": "/srv/wsol/checkout", "cache": "/srv/wsol/cache"}


class Stack:
    """The stack of a project's ``docker/`` folder, as its ``.env`` describes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = (folder / ".env").read_text().splitlines()
        self.env = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        self.name = self.env["COMPOSE_PROJECT_NAME"]
        self.airflow = f"http://127.0.0.1:{self.env['AIRFLOW_PORT']}"
        self.mlflow = f"http://127.0.0.1:{self.env['MLFLOW_PORT']}"
        self._token = ""

    def compose(self, *arguments: str) -> str:
        """Output of ``docker compose …``."""
        return docker("compose", *arguments, cwd=self.folder)

    def secret(self, service: str, path: str) -> str:
        return self.compose("exec", "-T", service, "cat", f"/run/wsol/{path}").strip()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Airflow's API as its administrator; a lost connection is tried again for a minute."""
        return patiently(lambda: request(method, self.airflow + path, body, f"Bearer {self._login()}"))

    def _login(self) -> str:
        if not self._token:
            user = {"username": "admin", "password": self.secret("api-server", "airflow/admin_password")}
            self._token = request("POST", f"{self.airflow}/auth/token", user)["access_token"]
        return self._token

    def client(self) -> dict[str, str]:
        """Variables by which MLflow's client reaches the server."""
        password = self.secret("mlflow", "mlflow/admin_password")
        return {
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def rows(self, experiment: str = "wsol") -> list[dict[str, Any]]:
        """MLflow's runs of an experiment, as they began; a database orders what began at once as it likes."""
        by_name = f"experiments/get-by-name?experiment_name={experiment}"
        found = self._ask_mlflow("GET", by_name)["experiment"]["experiment_id"]
        wanted = {"experiment_ids": [found], "max_results": 100}
        runs = self._ask_mlflow("POST", "runs/search", wanted).get("runs", [])
        return sorted(map(_ordered, runs), key=lambda run: (run["info"]["start_time"], run["info"]["run_id"]))

    def challenger(self, model: str = "wsol") -> str:
        """The run that competed last: its model has the alias ``challenger``."""
        found = self._ask_mlflow("GET", f"registered-models/alias?name={model}&alias=challenger")
        return str(found["model_version"]["run_id"])

    def may(self, account: str, path: str, body: Any) -> bool:
        """Whether MLflow lets an account do something."""
        try:
            self._ask_mlflow("POST", path, body, account)
        except AssertionError as error:
            assert "403" in str(error), error
            return False
        return True

    def _ask_mlflow(self, method: str, path: str, body: Any = None, account: str = "admin") -> Any:
        password = self.secret("mlflow", f"mlflow/{account}_password")
        basic = "Basic " + base64.b64encode(f"{account}:{password}".encode()).decode()
        return patiently(lambda: request(method, f"{self.mlflow}/api/2.0/mlflow/{path}", body, basic))

    def trigger(self, dag: str = "wsol_retrain", **conf: Any) -> "Run":
        """Start a run over the REST API, with values of the form."""
        made = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
        return Run(self, dag, made["dag_run_id"])

    def unpause(self, dag: str = "wsol_retrain") -> None:
        """Wait until a DAG is known, and let it run."""
        wait_for(lambda: dag in [d["dag_id"] for d in self.call("GET", "/api/v2/dags")["dags"]], f"DAG {dag}", 120)
        self.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def containers(self, task: str) -> list[str]:
        """Names of a task's containers, running or not."""
        names = docker("ps", *tasks_of(self.name), "--format", "{{.Names}}").split()
        return [name for name in names if name.startswith(f"wsol-{task}-")]

    def in_work(self, *command: str) -> str:
        """Output of a command with the tasks' volume at /srv/wsol."""
        return docker(*self._in_work(), *command)

    def copy_out(self, path: str, folder: Path) -> None:
        """Copy a folder of the tasks' volume to this machine."""
        pack = ["docker", *self._in_work(), "tar", "-cC", path, "."]
        packed = subprocess.run(pack, check=True, capture_output=True).stdout
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-x", "--no-same-owner", "-C", folder], input=packed, check=True)

    def _in_work(self) -> list[str]:
        image = f"wsol/pipeline:{self.env['WSOL_VERSION']}"
        volumes = [f"--volume={self.name}_{name}:{path}" for name, path in VOLUMES.items()]
        return ["run", "--rm", "--network=none", *volumes, image]


def _ordered(run: dict[str, Any]) -> dict[str, Any]:
    """A run of MLflow with its params, metrics and tags by name: the answer has them as the database found them."""
    data = {kind: sorted(pairs, key=lambda pair: pair["key"]) for kind, pairs in run["data"].items()}
    return run | {"data": data}


class Run:
    """A run of a DAG."""

    def __init__(self, stack: Stack, dag: str, run_id: str) -> None:
        self.stack = stack
        self.run_id = run_id
        self.path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run_id, safe='')}"

    def state(self) -> str:
        return str(self.stack.call("GET", self.path)["state"])

    def wait(self, seconds: float = 900) -> str:
        """Its final state."""
        wait_for(lambda: self.state() in FINAL, f"the end of {self.run_id}", seconds)
        return self.state()

    def tasks(self) -> dict[str, dict[str, Any]]:
        found = self.stack.call("GET", f"{self.path}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def wait_for_task(self, task: str, *states: str, seconds: float = 300) -> None:
        """Return once a task has one of the states; fail if the run ended otherwise."""

        def there() -> bool:
            state = self.tasks()[task]["state"]
            assert state in states or state not in FINAL, f"{task} is {state}: {self.log(task)[-3000:]}"
            return state in states

        wait_for(there, f"{task} in {states}", seconds)

    def failures(self) -> dict[str, str]:
        """Ends of the logs of failed tasks."""
        failed = {task: found["try_number"] for task, found in self.tasks().items() if found["state"] == "failed"}
        return {task: self.log(task, attempt)[-3000:] for task, attempt in failed.items()}

    def end(self) -> None:
        """Leave out what has not run yet, except the removal of the workspace."""
        self.stack.call("PATCH", self.path, {"state": "failed"})
        self.wait_for_task("remove_workspace", "success", "failed")

    def log(self, task: str, attempt: int = 1) -> str:
        path = f"{self.path}/taskInstances/{task}/logs/{attempt}?full_content=true"
        return json.dumps(self.stack.call("GET", path), ensure_ascii=False)

    def record(self, name: str, row: int | None = None) -> str:
        """A file that is kept of the run, or of a row of a sweep."""
        folders = self.stack.in_work("sh", "-c", "ls -d /srv/wsol/state/runs/*").split()
        workspace = self.run_id.replace(":", "-").replace("+", "-") + ("" if row is None else f"-row-{row}")
        (mine,) = [path for path in folders if workspace in path and ("-row-" in path) == (row is not None)]
        return self.stack.in_work("cat", f"{mine}/{name}")


def tasks_of(name: str) -> list[str]:
    """Options of ``docker ps`` that list a stack's tasks: they have its volume, and not all are on its network."""
    return ["--all", "--filter", "label=wsol.task", "--filter", f"volume={name}_work"]


def docker(*arguments: str, cwd: Path | None = None) -> str:
    """Output of docker's command line."""
    done = subprocess.run(["docker", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def status_of(address: str) -> int:
    """How a server answers somebody it does not know."""
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def patiently(attempt: Callable[[], Any], seconds: float = 90) -> Any:
    """The result of a call to a server that may be restarting."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if final or time.monotonic() > deadline:
                detail = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
                raise AssertionError(f"{error} {detail}") from error
            time.sleep(1)


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)
