"""A volume that is full while a stage runs in its container."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.docker.stack import docker
from tests.project import ROOT

sys.path.insert(0, str(ROOT / "dags"))
from wsol_dags.containers import CHECKOUT, Settings
from wsol_dags.docker_runtime import DockerRuntime

pytestmark = pytest.mark.container
VOLUME, HOLDER = "wsoltest_full", "wsoltest-full"
FILLER = "/srv/wsol/filler"


@pytest.fixture
def volume(images):
    """A volume of 400 MiB with a checkout; its content lives as long as the container that holds it."""
    options = ["type=tmpfs", "device=tmpfs", "o=size=400m,uid=10001,gid=10001,mode=0750"]
    docker("volume", "create", *(f"--opt={option}" for option in options), VOLUME)
    mount = f"--volume={VOLUME}:/srv/wsol"
    try:
        docker("run", "--detach", f"--name={HOLDER}", "--network=none", mount, images["pipeline"], "sleep", "infinity")
        inside("sh", "/opt/wsol/docker/checkout.sh")
        yield VOLUME
    finally:
        subprocess.run(["docker", "rm", "--force", HOLDER], capture_output=True)
        docker("volume", "rm", VOLUME)


def inside(*command):
    return docker("exec", HOLDER, *command)


def run_stage(image, volume, stage):
    """The task of a stage, as Airflow runs it."""
    variables = {"WSOL_IMAGE": image, "WSOL_WORK": volume, "WSOL_NETWORK": "none", "WSOL_TASK_OMP_NUM_THREADS": "1"}
    context = {"run_id": "r", "ti": SimpleNamespace(dag_id="d", run_id="r", task_id=stage, map_index=-1)}
    runtime = DockerRuntime(Settings.from_environment(variables))
    return runtime.command(["repro", "--single-item", stage], CHECKOUT, task_id=stage).execute(context)


def test_a_full_disk_ends_the_stage_with_a_message_and_costs_nothing_that_was_there(images, volume):
    run_stage(images["pipeline"], volume, "prepare")
    free = int(inside("df", "--output=avail", "-k", "/srv/wsol").split()[-1])
    inside("dd", "if=/dev/zero", f"of={FILLER}", "bs=1k", f"count={free - 2048}", "status=none")
    with pytest.raises(AirflowFailException, match=r"train ended with exit code .*(No space left on device|is full)"):
        run_stage(images["pipeline"], volume, "train")
    inside("rm", FILLER)
    status = ["sh", "-c", f"cd {CHECKOUT} && dvc status prepare"]
    assert "up to date" in inside(*status)
    run_stage(images["pipeline"], volume, "train")
    assert "models/model.pt" in inside("sh", "-c", f"cd {CHECKOUT} && ls models/*")
