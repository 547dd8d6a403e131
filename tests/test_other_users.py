"""Paths below folders of other users: each command ends with exit code 2 and names the path, without a traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sample_result import write_params

ROOT = Path(__file__).parents[1]
#: Root may go anywhere; without these two rights it is a user like any other.
LIKE_OTHERS = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
pytestmark = pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may read anything, and setpriv is missing"
)


@pytest.fixture
def command(tmp_path):
    """Runs a command line in a folder with a folder `locked`; returns its exit code and stderr."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "locked").mkdir(0o000)

    def run(*arguments, **params):
        if params:
            write_params(tmp_path, **params)
        start = LIKE_OTHERS if os.geteuid() == 0 else []
        done = subprocess.run(
            [*start, sys.executable, "-m", "pipeline", *arguments], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "WSOL_STATE": str(tmp_path / "state")}, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stderr.replace("\n", " ")

    yield run
    (tmp_path / "locked").chmod(0o700)


@pytest.mark.parametrize(
    ("arguments", "params", "named"),
    [
        (["check"], {"prepare__root": "locked/raw"}, "prepare.root: {}/locked/raw"),
        (["check"], {"prepare__root": "a.npy", "train__pretrained": "locked/w"}, "train.pretrained: {}/locked/w"),
        (["raw-hash"], {"prepare__root": "locked/raw"}, "prepare.root: {}/locked/raw"),
        (["score", "--maps", "locked/a", "--truth", "."], {}, "{}/locked/a"),
        (["score", "--maps", ".", "--truth", "."], {}, "{}/locked"),
        (["predict", "a.jpg", "--model", "locked/m.safetensors"], {}, "--model: {}/locked/m.safetensors"),
        (["sweep", "sweep.yaml"], {}, "sweep.yaml: base: {}/locked/p.yaml"),
        (["checkout", "0" * 32, "locked/there"], {}, "{}/locked/there"),
    ],
)
def test_a_path_that_may_not_be_looked_at_is_named(command, tmp_path, arguments, params, named):
    (tmp_path / "sweep.yaml").write_text("name: s\nmethod: grid\nbase: locked/p.yaml\nspace: {seed: [0]}\n")
    (tmp_path / "a.npy").touch()
    code, stderr = command(*arguments, **params)
    assert (code, "Traceback" in stderr) == (2, False)
    assert f"{named.format(tmp_path)} cannot be reached: Permission denied. Give this user access to it" in stderr


def test_parameters_that_may_not_be_read_are_named(command, tmp_path):
    (tmp_path / "params.yaml").chmod(0o000)
    code, stderr = command("check")
    assert code == 2
    assert f"{tmp_path}/params.yaml cannot be reached: Permission denied" in stderr


def test_an_output_that_may_not_be_looked_at_is_named(command, tmp_path):
    (tmp_path / "metrics").mkdir(0o000)
    code, stderr = command("show")
    assert code == 2
    assert f"{tmp_path}/metrics/record.json cannot be reached: Permission denied" in stderr
