"""One run in a workspace of its own: its result, its failure, and what a signal leaves."""

import subprocess
import sys

import pytest

from pipeline.errors import WsolError
from pipeline.sweeps.trial import run_trial
from pipeline.system.keeper import STOPPING
from pipeline.system.locks import exclusive_lock
from tests.processes import is_alive, wait_for_pid
from tests.tiny_project import commit, make_project

TRACK = """\
from pathlib import Path

from pipeline.params import load_params

Path("metrics").mkdir(exist_ok=True)
Path("metrics/metrics.json").write_text('{"val": {"seed": %d}}' % load_params().seed)
print('{"stage": "track", "run_id": "abc"}')
"""
RUN = """\
from pathlib import Path

from pipeline.system.locks import exclusive_lock
from pipeline.sweeps.trial import run_trial

with exclusive_lock(Path("lock"), "the sweep") as lock:
    run_trial("r", {"train.lambda": 0.7}, Path("params.yaml").read_text(), lock)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project of quick stages, the last of which writes metrics and names a row."""
    folder = make_project(tmp_path_factory.mktemp("trial") / "project")
    (folder / "track.py").write_text(TRACK)
    stages = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(stages.replace("echo tracked >> notes", "python track.py"))
    commit(folder)
    return folder


@pytest.fixture
def project(made, monkeypatch):
    """The same as the current folder."""
    monkeypatch.chdir(made)
    for name in ("WSOL_STATE", "MODE"):
        monkeypatch.delenv(name, raising=False)
    return made


def workspace_of(project):
    return project / ".wsol/workspaces/r/project"


def test_a_trial_has_the_metrics_and_the_row_of_its_overrides(project, capfd):
    base = (project / "params.yaml").read_text()
    with exclusive_lock(project / "lock", "it") as lock:
        done = run_trial("r", {"seed": 3}, base, lock)
    assert (done.metrics, done.run_id) == ({"val": {"seed": 3}}, "abc")
    assert not workspace_of(project).exists()
    assert "seed: 3" in (project / ".wsol/runs/r/params.yaml").read_text()
    assert (project / "params.yaml").read_text() == base
    assert capfd.readouterr().out == "", "stdout is for the command's own line"


def test_a_failed_trial_says_why(project, monkeypatch):
    monkeypatch.setenv("MODE", "2")
    with exclusive_lock(project / "lock", "it") as lock, pytest.raises(WsolError, match=r"image a\.jpg is damaged"):
        run_trial("r", {"seed": 4, "train.lambda": 0.5}, (project / "params.yaml").read_text(), lock)
    assert not workspace_of(project).exists()


@pytest.fixture
def started(project, tmp_path, monkeypatch):
    """A process that runs a trial whose training sleeps, and the training's process id."""
    monkeypatch.setenv("MODE", "sleep")
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    monkeypatch.setenv("PYTHONPATH", str(project))
    (project / "run.py").write_text(RUN)
    process = subprocess.Popen([sys.executable, "run.py"], cwd=project)
    stage = wait_for_pid(tmp_path / "pid")
    yield process, stage
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_stops_the_trial_and_leaves_its_workspace(project, started, number):
    process, stage = started
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert not is_alive(stage)
    assert workspace_of(project).exists()
    with exclusive_lock(project / "lock", "it"):
        pass


def test_a_trial_whose_sweep_was_killed_ends_and_keeps_others_out_until_then(project, started):
    process, stage = started
    process.kill()
    process.wait()
    with exclusive_lock(project / "lock", "the sweep"):
        assert not is_alive(stage)
