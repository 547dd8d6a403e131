"""An S3-compatible store for MLflow's artifacts and DVC's remote: a stand-in that listens where containers see us."""

import json
import os
import subprocess
import sys

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.docker.stack import docker
from tests.project import environment

pytestmark = pytest.mark.container
NAME, BUCKET = "wsoltests3", "store"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "planted-store-key-90d1"}
LOG_AND_READ = """
import mlflow
from mlflow.artifacts import load_text
with mlflow.start_run() as run:
    mlflow.log_text("boxes", "result.txt")
assert load_text(f"runs:/{run.info.run_id}/result.txt") == "boxes"
"""
PUSH_AND_PULL = f"""
mkdir /tmp/project
cd /tmp/project
git init -q
dvc init -q
dvc remote add -q -d store s3://{BUCKET}/dvc
dvc remote modify -q store endpointurl "$ENDPOINT"
echo boxes >result.txt
dvc add -q result.txt
dvc push -q
rm -r .dvc/cache result.txt
dvc pull -q
cat result.txt
"""


@pytest.fixture(scope="module")
def compose(images, project):
    """``docker compose …`` of a stack beside the other tests' one."""
    variables = {
        "COMPOSE_PROJECT_NAME": NAME, "WSOL_VERSION": "test", "MLFLOW_PORT": "15001",
        "MLFLOW_ARTIFACTS": f"s3://{BUCKET}/artifacts", "WSOL_RAW_FOLDER": str(project / "data/raw"),
    }  # fmt: skip

    def run(*arguments, text=None, **more):
        command = ["docker", "compose", "--env-file=.env.example", *arguments]
        done = subprocess.run(
            command, cwd=project / "docker", env=os.environ | variables | more, input=text, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    run("down", "--volumes")


@pytest.fixture(scope="module")
def store(compose):
    """The store's address for containers and its objects."""
    compose("up", "--detach", "--wait", "postgres")
    (network,) = json.loads(docker("network", "inspect", f"{NAME}_services"))
    server = ThreadedMotoServer(ip_address=network["IPAM"]["Config"][0]["Gateway"], port=0)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket=BUCKET)
    yield endpoint, lambda: [found["Key"] for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    server.stop()


def test_mlflow_passes_artifacts_through_to_the_store_with_its_own_keys(compose, store):
    endpoint, objects = store
    for name, value in [("AWS_SECRET_ACCESS_KEY", "an earlier one"), *KEYS.items()]:
        write = f"umask 377; file=/run/wsol/mlflow/{name}; rm -f $file; cat >$file"
        compose("run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "secrets", "-c", write, text=value)
    compose("up", "--detach", "--wait", "mlflow", MLFLOW_S3_ENDPOINT_URL=endpoint)
    client = environment(
        MLFLOW_TRACKING_URI="http://127.0.0.1:15001",
        MLFLOW_TRACKING_USERNAME="admin",
        MLFLOW_TRACKING_PASSWORD=compose("exec", "-T", "mlflow", "cat", "/run/wsol/mlflow/admin_password"),
    )
    done = subprocess.run([sys.executable, "-c", LOG_AND_READ], env=client, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + compose("logs", "mlflow")
    assert [key for key in objects() if key.startswith("artifacts/") and key.endswith("/result.txt")]
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in compose("logs")


def test_dvc_pushes_to_the_store_and_pulls_from_it(images, store):
    endpoint, objects = store
    given = [f"--env={name}={value}" for name, value in (KEYS | {"ENDPOINT": endpoint}).items()]
    network = f"--network={NAME}_services"
    assert docker("run", "--rm", network, *given, images["pipeline"], "sh", "-euc", PUSH_AND_PULL) == "boxes\n"
    assert [key for key in objects() if key.startswith("dvc/")]
