"""A volume that is full while a stage runs in its container."""

import subprocess

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.docker.stack import docker
from tests.docker.task import run_task

pytestmark = pytest.mark.container
VOLUME, HOLDER = "wsoltest_full", "wsoltest-full"
CHECKOUT, FILLER = "/srv/wsol/checkout", "/srv/wsol/filler"


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
    variables = {"WSOL_IMAGE": image, "WSOL_WORK": volume, "WSOL_TASK_OMP_NUM_THREADS": "1"}
    return run_task(stage, ["repro", "--single-item", stage], CHECKOUT, **variables)


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
