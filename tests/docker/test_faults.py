"""What fails while a run is under way, and what becomes of the run."""

import json
import time
from functools import partial

import pytest
import yaml

from tests.docker.stack import docker, wait_for

pytestmark = pytest.mark.container
#: Long enough to be interrupted: an epoch, with its checkpoint, takes some tenths of a second.
LONG = {"train.epochs": 40, "train.lr": 0.001}
RESUMED = "going on from the checkpoint after epoch"


def wait_for_checkpoint(stack, run):
    """Name of the container that trains, once it has saved its first epoch."""
    run.wait_for_task("train", "running")
    wait_for(lambda: len(stack.containers("train")) == 1, "the container", 60)
    (name,) = stack.containers("train")
    script = "while ! ls /srv/wsol/state/checkpoints/*.pt >/dev/null 2>&1; do sleep 0.2; done"
    docker("exec", name, "timeout", "120", "sh", "-c", script)
    return name


def check_confined(name):
    """A container that trains: no network, no account, and nothing to write but its work and the cache."""
    (container,) = json.loads(docker("inspect", name))
    host = container["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert not [entry for entry in container["Config"]["Env"] if "PASSWORD" in entry or "KEY" in entry]
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["PidsLimit"] > 0
    assert {mount["Destination"]: mount["RW"] for mount in container["Mounts"] if mount["Type"] == "volume"} == {
        "/srv/wsol": True, "/srv/wsol/cache": True, "/srv/wsol/checkout": False, "/srv/raw": False,
    }  # fmt: skip
    said = docker("exec", name, "sh", "-c", "ls /sys/class/net; touch /srv/wsol/checkout/x /x 2>&1 || true")
    assert said.split("\n")[0] == "lo"
    assert said.count("Read-only file system") == 2


@pytest.fixture
def clean(stack):
    """No checkpoint of another test, no other run under way."""
    stack.in_work("sh", "-c", "rm -f /srv/wsol/state/checkpoints/*.pt")
    return stack


def test_a_killed_container_is_tried_again_and_goes_on_from_its_checkpoint(clean):
    run = clean.trigger(**LONG, **{"train.lambda": 0.11})
    name = wait_for_checkpoint(clean, run)
    check_confined(name)
    docker("kill", name)
    run.wait_for_task("train", "success", seconds=900)
    run.end()
    assert run.tasks()["train"]["try_number"] == 2
    assert "exit code 137" in run.log("train", 1)
    assert RESUMED in run.log("train", 2)


def test_a_cancelled_task_has_no_container_after_10_s_and_can_be_resumed(clean):
    settings = LONG | {"train.lambda": 0.12}
    run = clean.trigger(**settings)
    wait_for_checkpoint(clean, run)
    clean.call("PATCH", f"{run.path}/taskInstances/train", {"new_state": "failed"})
    cancelled = time.monotonic()
    wait_for(lambda: clean.containers("train") == [], "the container's end", 10)
    print(f"gone after {time.monotonic() - cancelled:.1f} s")
    assert run.wait() == "failed"
    assert run.tasks()["remove_workspace"]["state"] == "success"
    again = clean.trigger(**settings)
    again.wait_for_task("train", "success", seconds=900)
    again.end()
    assert RESUMED in again.log("train")


def test_a_scheduler_that_dies_in_a_run_leaves_no_second_container_and_the_run_ends_well(clean):
    run = clean.trigger(**LONG, **{"train.lambda": 0.13})
    wait_for_checkpoint(clean, run)
    clean.compose("restart", "--timeout", "0", "scheduler")
    seen = set()

    def ended():
        seen.add(len(clean.containers("train")))
        return run.state() in ("success", "failed")

    wait_for(ended, "the end of the run", 900)
    assert run.state() == "success", run.failures()
    assert seen <= {0, 1}


def test_a_restarted_database_does_not_end_a_run(clean):
    run = clean.trigger(**LONG, **{"train.lambda": 0.14})
    wait_for_checkpoint(clean, run)
    clean.compose("restart", "postgres")
    assert run.wait() == "success", run.failures()


def test_mlflow_away_costs_no_training_and_is_tracked_later(clean):
    before = len(clean.rows())
    clean.compose("stop", "mlflow")
    try:
        run = clean.trigger(**{"train.lambda": 0.15})
        run.wait_for_task("track", "up_for_retry", seconds=600)
    finally:
        clean.compose("start", "mlflow")
    assert run.wait() == "success", run.failures()
    assert run.tasks()["train"]["try_number"] == 1
    assert "exit code 75" in run.log("track", 1)
    assert len(clean.rows()) == before + 1


def test_two_runs_and_a_sweep_at_once_neither_lock_nor_mix(clean):
    clean.unpause("wsol_sweep")
    values = (0.21, 0.22, 0.23, 0.24)
    runs = {value: clean.trigger(**{"train.lambda": value}) for value in values[:2]}
    sweep = clean.trigger("wsol_sweep", lambdas=list(values[2:]))
    assert [run.wait() for run in (*runs.values(), sweep)] == ["success"] * 3
    records = {value: run.record for value, run in runs.items()}
    for row, value in enumerate(values[2:]):
        records[value] = partial(sweep.record, row=row)
    locks = {value: yaml.safe_load(record("dvc.lock"))["stages"]["train"] for value, record in records.items()}
    for value, lock in locks.items():
        assert lock["params"]["params.yaml"]["train"]["lambda"] == value
    models = {out["md5"] for lock in locks.values() for out in lock["outs"] if out["path"] == "models/model.pt"}
    assert len(models) == len(values)
    tracked = [float(param["value"]) for row in clean.rows() for param in row["data"].get("params", [])
               if param["key"] == "train.lambda"]  # fmt: skip
    assert sorted(value for value in tracked if value in values) == sorted(values)
