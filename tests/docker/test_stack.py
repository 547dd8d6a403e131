"""The Compose stack brought up for real: a run over the REST API, what is reachable, and where secrets are not."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from tests.docker.conftest import REMOTE
from tests.docker.stack import docker, status_of
from tests.project import environment, executed, pipeline

pytestmark = pytest.mark.container
SERVICES = {"api-server", "dag-processor", "mlflow", "postgres", "scheduler", "socket-proxy", "triggerer"}


@pytest.fixture(scope="module")
def finished(stack):
    """A run with the values of params.yaml."""
    run = stack.trigger()
    assert run.wait() == "success", run.failures()
    return run


def test_the_metrics_are_those_of_the_process_runtime(finished, project):
    done = pipeline(project, "repro", "evaluate")
    assert done.returncode == 0, done.stderr
    here = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["evaluate"]["outs"]
    there = yaml.safe_load(finished.record("dvc.lock"))["stages"]["evaluate"]["outs"]
    hashes = [{out["path"]: out["md5"] for out in outs} for outs in (here, there)]
    assert hashes[0]["metrics/metrics.json"] == hashes[1]["metrics/metrics.json"]


def test_every_stage_was_a_task_and_the_row_names_the_run(finished, stack, project):
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    assert {task: i["state"] for task, i in finished.tasks().items() if task in stages} == dict.fromkeys(
        stages, "success"
    )
    row = row_of(finished, stack)
    names = {metric["key"] for metric in row["data"]["metrics"]}
    assert {"test/gt_known_iou50", "train/loss"} <= names
    assert tags(row)["wsol.dirty"] == "false"


def test_the_promotion_is_decided_and_the_last_challenger_is_registered(finished, stack):
    """The tiny data's few images let no run be told from a box that looks at none: all are refused."""
    decided = {row["info"]["run_id"]: tags(row).get("wsol.promotion") for row in stack.rows()}
    assert decided[row_of(finished, stack)["info"]["run_id"]] == "refused"
    assert decided[stack.challenger()] == "refused"


def test_a_fresh_clone_brings_the_run_back_from_the_remote(finished, stack, project, tmp_path):
    row = row_of(finished, stack)
    stack.copy_out(REMOTE, tmp_path / "remote")
    clone, again = tmp_path / "clone", tmp_path / "again"
    subprocess.run(["git", "clone", "--quiet", project, clone], check=True)
    address = ["remote", "modify", "--local", "shared", "url", str(tmp_path / "remote")]
    subprocess.run([sys.executable, "-m", "dvc", *address], cwd=clone, check=True)
    done = pipeline(clone, "checkout", row["info"]["run_id"], str(again), **stack.client())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["missing"] == []
    locks = (again / "dvc.lock").read_text(), finished.record("dvc.lock")
    brought, recorded = (yaml.safe_load(lock)["stages"] for lock in locks)
    # The row was written by `track`, before that stage had ended.
    assert brought == {name: stage for name, stage in recorded.items() if name != "track"}
    nothing_to_do = pipeline(again, "repro", "evaluate")
    assert nothing_to_do.returncode == 0, nothing_to_do.stderr
    assert executed(nothing_to_do) == []


def test_the_same_again_runs_nothing_and_adds_no_row(finished, stack):
    before = len(stack.rows())
    again = stack.trigger()
    assert again.wait() == "success"
    assert "Running stage 'train'" in finished.log("train")
    assert "Running stage 'train'" not in again.log("train")
    assert len(stack.rows()) == before


def test_nothing_is_left_of_a_run_but_its_record(finished, stack):
    assert stack.containers("") == []
    assert stack.in_work("ls", "/srv/wsol/state/workspaces").split() == []


def tags(row):
    return {tag["key"]: tag["value"] for tag in row["data"]["tags"]}


def row_of(run, stack):
    """A run's row; a sweep's row has no run of its own."""
    (row,) = [row for row in stack.rows() if tags(row).get("wsol.airflow_run") == run.run_id]
    return row


def test_every_service_is_healthy(stack):
    shown = [json.loads(line) for line in stack.compose("ps", "--format", "json").splitlines()]
    assert {service["Service"]: service["Health"] for service in shown} == dict.fromkeys(SERVICES, "healthy")


def test_ports_are_on_loopback_only(stack):
    shown = [json.loads(line) for line in stack.compose("ps", "--format", "json").splitlines()]
    published = [p for service in shown for p in service["Publishers"] or [] if p["PublishedPort"]]
    assert {p["PublishedPort"] for p in published} == {18080, 15000}
    assert {p["URL"] for p in published} == {"127.0.0.1"}


@pytest.mark.parametrize("path", ["/api/v2/dags", "/api/v2/connections", "/api/v2/variables", "/api/v2/config"])
def test_airflow_refuses_who_is_not_known(stack, path):
    assert status_of(stack.airflow + path) in (401, 403)


@pytest.mark.parametrize(
    "path", ["/", "/api/2.0/mlflow/experiments/search?max_results=1", "/api/2.0/mlflow-artifacts/artifacts"]
)
def test_mlflow_refuses_who_is_not_known(stack, path):
    assert status_of(stack.mlflow + path) == 401


def test_the_database_wants_a_password(stack):
    command = ["exec", "-T", "postgres", "psql", "-w", "-h", "postgres", "-U", "airflow", "-c", "select 1"]
    with pytest.raises(AssertionError, match="no password supplied"):
        stack.compose(*command)


def test_no_service_is_root_or_privileged_or_without_limits(stack):
    for container in json.loads(docker("inspect", *stack.compose("ps", "--all", "--quiet").split())):
        name, host = container["Name"], container["HostConfig"]
        assert container["Config"]["User"] == "10001:10001", name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["Privileged"], name
        assert host["Memory"] == host["MemorySwap"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert [limit["Name"] for limit in host["Ulimits"]] == ["nofile"], name
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"]), name
        socket = [mount for mount in container["Mounts"] if mount["Destination"] == "/var/run/docker.sock"]
        assert bool(socket) == ("socket-proxy" in name), name


def test_each_role_has_its_own_account_of_mlflow(finished, stack):
    """That of the tasks that record runs changes no model, and a reviewer nothing at all."""
    alias = {"name": "wsol", "alias": "champion", "version": "1"}
    assert stack.may("training", "experiments/create", {"name": "training's own"})
    assert not stack.may("training", "registered-models/alias", alias)
    assert not stack.may("training", "users/create", {"username": "mallory", "password": "mallory-mallory"})
    assert not stack.may("promotion", "users/create", {"username": "mallory", "password": "mallory-mallory"})
    mark = {"run_id": row_of(finished, stack)["info"]["run_id"], "key": "seen", "value": "yes"}
    assert stack.may("promotion", "runs/set-tag", mark)
    assert not stack.may("reviewer", "runs/set-tag", mark)
    assert stack.may("reviewer", "runs/search", {"experiment_ids": ["1"]})


def test_no_secret_is_an_argument_of_a_process(stack):
    """Everybody on the host sees these, those of processes in containers as well."""
    names = "find /run/wsol -type f ! -name '*_user' ! -name MLFLOW_TRACKING_USERNAME -exec cat {} + -exec echo \\;"
    everything = ["run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "secrets", "-c", names]
    secrets = set(re.findall(r"[0-9a-f]{48}", stack.compose(*everything)))
    assert len(secrets) >= 8
    arguments = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "mlflow" in arguments and "postgres" in arguments
    assert [secret for secret in secrets if secret in arguments] == []


def test_tasks_reach_mlflow_but_neither_database_nor_airflow(stack):
    code = """
import socket
for name, port in (("mlflow", 5000), ("postgres", 5432), ("api-server", 8080)):
    try:
        socket.create_connection((name, port), 3); print(name)
    except OSError:
        pass
"""
    network = f"{stack.name}_tasks"
    image = f"wsol/pipeline:{stack.env['WSOL_VERSION']}"
    assert docker("run", "--rm", "--network", network, image, "python", "-c", code).split() == ["mlflow"]


def test_secrets_differ_between_stacks_and_are_for_their_service_only(stack):
    assert len(stack.secret("mlflow", "mlflow/admin_password")) == 48
    for service, others in {
        "mlflow": ["airflow", "postgres", "tasks"],
        "postgres": ["airflow", "mlflow", "tasks"],
    }.items():
        for folder in others:
            assert stack.compose("exec", "-T", service, "sh", "-c", f"ls /run/wsol/{folder} 2>/dev/null || true") == ""


def test_no_secret_is_in_logs_settings_or_rendered_fields(finished, stack):
    secret = stack.secret("mlflow", "mlflow/training_password")
    assert secret not in stack.compose("logs")
    for task, found in finished.tasks().items():
        # What was skipped without being started has no log.
        assert not found["try_number"] or secret not in finished.log(task), task
        fields = stack.call("GET", f"{finished.path}/taskInstances/{task}")
        assert secret not in json.dumps(fields), task
    grep = ["exec", "-T", "scheduler", "sh", "-c", f"grep -rl {secret} /srv/airflow/logs || true"]
    assert stack.compose(*grep) == ""
    assert secret not in docker("inspect", *stack.compose("ps", "--all", "--quiet").split())


def test_a_task_that_prints_its_secret_shows_stars(stack, monkeypatch):
    """In the task's log Airflow masks what the runtime read as a secret."""
    secret = stack.secret("mlflow", "mlflow/training_password")
    code = """
from pathlib import Path
from airflow.sdk.log import redact
from wsol_dags.runtimes.docker import read_secrets
read = read_secrets(Path("/run/wsol/tasks/training"))
print(redact("<" + read["MLFLOW_TRACKING_PASSWORD"] + ">", "x"))
"""
    command = ["exec", "-T", "-e", "PYTHONPATH=/opt/wsol/dags", "scheduler", "python", "-c", code]
    said = stack.compose(*command)
    assert secret not in said
    assert "<***>" in said


@pytest.mark.parametrize("name", ["tools", "postgres", "mlflow", "airflow", "pipeline"])
def test_no_build_secret_is_in_an_image_and_its_labels_name_the_revision(images, project, planted, name):
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
    ).stdout
    (image,) = json.loads(docker("image", "inspect", images[name]))
    assert image["Config"]["Labels"]["org.opencontainers.image.revision"] == revision.strip()
    assert image["Config"]["Labels"]["org.opencontainers.image.version"] == "test"
    assert planted[name].result() == 0


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_the_compose_files_are_valid(engine, project, overlay):
    files = ["-f", "compose.yaml", "-f", f"compose.{overlay}.yaml"]
    variables = environment(WSOL_GPU_COUNT="2", WSOL_VERSION="1")
    done = subprocess.run(
        ["docker", "compose", "--env-file=.env.example", *files, "config"],
        cwd=project / "docker", capture_output=True, text=True, check=False, env=variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services["scheduler"]["environment"]["WSOL_GPUS"] == {"cpu": "0", "gpu": "2"}[overlay]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port["host_ip"] == "127.0.0.1" for port in ports)
