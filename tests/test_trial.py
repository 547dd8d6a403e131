"""One run in a workspace of its own: its result, its failure, and what a signal leaves."""

import signal
import subprocess
import sys

import pytest

from pipeline.errors import TransientError, WsolError
from pipeline.trial import only_one, run_trial
from tests.processes import is_alive, wait_for, wait_for_pid
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

from pipeline.trial import only_one, run_trial

with only_one(Path("lock"), "the sweep") as lock:
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
    with only_one(project / "lock", "it") as lock:
        done = run_trial("r", {"seed": 3}, base, lock)
    assert (done.metrics, done.run_id) == ({"val": {"seed": 3}}, "abc")
    assert not workspace_of(project).exists()
    assert "seed: 3" in (project / ".wsol/runs/r/params.yaml").read_text()
    assert (project / "params.yaml").read_text() == base
    assert capfd.readouterr().out == "", "stdout is for the command's own line"


def test_a_failed_trial_says_why(project, monkeypatch):
    monkeypatch.setenv("MODE", "2")
    with only_one(project / "lock", "it") as lock, pytest.raises(WsolError, match=r"image a\.jpg is damaged"):
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_trial_and_leaves_its_workspace(project, started, number):
    process, stage = started
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert not is_alive(stage)
    assert workspace_of(project).exists()
    with only_one(project / "lock", "it"):
        pass


def test_a_trial_whose_sweep_was_killed_keeps_others_out_until_it_is_stopped(project, started):
    process, stage = started
    process.kill()
    process.wait()
    with pytest.raises(TransientError, match=r"the sweep is at work already \(process \d+\)"):
        only_one(project / "lock", "the sweep").__enter__()
    assert is_alive(stage)
    trial = int((project / "lock").read_text())
    subprocess.run(["kill", str(trial)], check=True)
    wait_for(lambda: not is_alive(trial), "the trial's end")
    assert not is_alive(stage)
    with only_one(project / "lock", "the sweep"):
        pass
