"""The runbook's backup of the stack, and its return after all volumes are lost; the commands are the document's own."""

import os
import subprocess

import pytest

from tests.project import ROOT

pytestmark = pytest.mark.container


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


def test_the_runbooks_backup_brings_runs_rows_champion_and_cache_back(stack, tmp_path):
    run = stack.trigger(**{"train.lambda": 0.31})
    assert run.wait() == "success", run.failures()
    rows, champion, secret = stack.rows(), stack.champion(), stack.secret("mlflow", "mlflow/admin_password")
    follow("back up the stack", stack, tmp_path)
    assert (tmp_path / "secrets.tar").stat().st_mode & 0o077 == 0
    stack.compose("down", "--volumes")
    follow("restore the stack", stack, tmp_path)
    assert stack.secret("mlflow", "mlflow/admin_password") == secret
    assert run.state() == "success"
    assert stack.rows() == rows
    assert stack.champion() == champion
    again = stack.trigger(**{"train.lambda": 0.31})
    assert again.wait() == "success"
    assert "Running stage 'train'" not in again.log("train")
    assert len(stack.rows()) == len(rows)
