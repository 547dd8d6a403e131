"""The runbook's commands for the stack, as the document has them: backup and restore, upkeep of MLflow."""

import os
import subprocess
import sys

import pytest

from tests.project import ROOT, environment

pytestmark = pytest.mark.container
DELETED_ROW = """
from mlflow import MlflowClient
client = MlflowClient()
run_id = client.create_run(client.create_experiment("upkeep")).info.run_id
client.log_text(run_id, "", "of-a-deleted-row.txt")
client.delete_run(run_id)
"""


def commands(title):
    """The block of the runbook that begins with this comment."""
    blocks = (ROOT / "docs/runbook.md").read_text().split("```sh\n")[1:]
    (found,) = [block.split("```")[0] for block in blocks if block.startswith(f"# {title}\n")]
    return found


def follow(title, stack, backup):
    done = subprocess.run(
        ["sh", "-euc", commands(title)], cwd=stack.folder, env=os.environ | {"BACKUP": str(backup)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_runbooks_backup_brings_runs_rows_challenger_and_cache_back(stack, tmp_path):
    run = stack.trigger(**{"train.lambda": 0.31})
    assert run.wait() == "success", run.failures()
    rows, challenger, secret = stack.rows(), stack.challenger(), stack.secret("mlflow", "mlflow/admin_password")
    follow("back up the stack", stack, tmp_path)
    assert (tmp_path / "secrets.tar").stat().st_mode & 0o077 == 0
    stack.compose("down", "--volumes")
    follow("restore the stack", stack, tmp_path)
    assert stack.secret("mlflow", "mlflow/admin_password") == secret
    assert run.state() == "success"
    assert stack.rows() == rows
    assert stack.challenger() == challenger
    again = stack.trigger(**{"train.lambda": 0.31})
    assert again.wait() == "success"
    assert "Running stage 'train'" not in again.log("train")
    assert len(stack.rows()) == len(rows)


def test_the_runbooks_upkeep_removes_deleted_rows_and_leaves_the_database_whole(stack, tmp_path):
    subprocess.run([sys.executable, "-c", DELETED_ROW], env=environment(**stack.client()), check=True)
    find = ["exec", "-T", "mlflow", "find", "/srv/mlflow/artifacts", "-name", "of-a-deleted-row.txt"]
    assert stack.compose(*find)
    follow("the stack: deleted rows", stack, tmp_path)
    assert stack.compose(*find) == ""
    follow("the stack: MLflow's database, before `make up`", stack, tmp_path)
    assert stack.rows("upkeep") == []
