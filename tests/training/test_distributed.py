"""Two processes train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.commands.stages import stage_command
from pipeline.errors import UserError
from pipeline.training import distributed
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.trainer import Trainer
from tests.training.trainings import ROOT, settings, small_network, two_colours

#: What each process runs: the losses of a training in float64, without batch norm.
SCRIPT = """
import sys
from pathlib import Path
from pipeline.training.distributed import process_group
from tests.training.test_distributed import train
with process_group():
    train(Path(sys.argv[1]), sys.argv[2])
"""
#: Ten images in batches of four: two a process.
SETTINGS = {"batch_size": 4, "epochs": 3, "regularizer": "kl_uniform", "lambda": 0.1, "clip": 1.0}


def train(folder: Path, name: str, **changes) -> list[dict[str, float]]:
    """Train in float64 and leave the history and the weights in the folder."""
    chosen = settings(**(SETTINGS | changes))
    torch.manual_seed(0)
    network = small_network(chosen, norm=False).double()
    images = two_colours(folder / f"{name}-{distributed.rank()}")
    trainer = Trainer(network, chosen, 0, Checkpoint(name), lambda row: None)
    history = trainer.fit(images, images)
    if distributed.rank() == 0:
        (folder / f"{name}.json").write_text(json.dumps(history))
        torch.save(trainer.trained().state_dict(), folder / f"{name}.pt")
    return history


def two_processes(folder: Path, name: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (folder / "script.py").write_text(SCRIPT)
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WSOL_STATE": str(folder / "s")}
    done = subprocess.run(
        [*command, str(folder / "script.py"), str(folder), name],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_two_processes_give_the_losses_and_weights_of_one_with_the_whole_batch(tmp_path):
    one = train(tmp_path, "one")
    two_processes(tmp_path, "two")
    two = json.loads((tmp_path / "two.json").read_text())
    timing = {"seconds", "images_per_s"}
    for single, shared in zip(one, two, strict=True):
        assert {k: v for k, v in shared.items() if k not in timing} == pytest.approx(
            {k: v for k, v in single.items() if k not in timing}, rel=1e-5, abs=1e-9
        )
    weights = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("images", "batch", "changes", "reason"),
    [
        (3, 4, {}, "3 training images cannot be shared by 4 processes"),
        (99, 8, {"batch_size": 8, "accumulate": 4}, "the 2 images of a step .* cannot be split into 4 forward passes"),
    ],
)
def test_processes_without_images_are_refused(monkeypatch, images, batch, changes, reason):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=reason):
        distributed.check_shares(images, batch, settings(**changes))


@pytest.mark.parametrize(
    ("batch_size", "said"), [(8, ""), (10, "10 is not a multiple of the 4 processes: a step takes 8")]
)
def test_images_that_processes_cannot_share_evenly_are_said_to_be_left_out(monkeypatch, capsys, batch_size, said):
    monkeypatch.setenv("WORLD_SIZE", "4")
    distributed.check_shares(99, 8, settings(batch_size=batch_size))
    shown = " ".join(capsys.readouterr().err.split())
    assert said in shown if said else not shown


def test_without_torchrun_there_is_one_process():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    values = torch.ones(2)
    assert distributed.sum_over_processes(values) is values


@pytest.mark.parametrize(
    ("gpus", "environment", "again"), [(1, {}, False), (4, {}, True), (4, {"WORLD_SIZE": "4"}, False)]
)
def test_several_gpus_start_one_process_each(monkeypatch, gpus, environment, again):
    started = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(os, "execv", lambda path, command: started.append(command))
    monkeypatch.setattr(sys, "argv", ["pipeline", "train"])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    distributed.start_per_gpu()
    assert bool(started) == again
    if again:
        assert started[0][:3] == [sys.executable, "-m", "torch.distributed.run"]
        assert started[0][-3:] == ["-m", "pipeline", "train"]


WHOLE = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize("environment", [{}, WHOLE, {"MASTER_ADDR": "a", "MASTER_PORT": "1"}])
def test_all_of_torchruns_variables_or_none_are_taken(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    distributed.check_environment()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"RANK": "1"}, "RANK in the environment, but not WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "4", "RANK": "0"}, "but not LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        (WHOLE | {"MASTER_PORT": ""}, "but not MASTER_PORT"),
        (WHOLE | {"RANK": "one"}, "RANK in the environment must be a whole number .* found 'one'"),
        (WHOLE | {"WORLD_SIZE": "-1"}, "WORLD_SIZE in the environment must be a whole number"),
        (WHOLE | {"RANK": "2"}, "RANK 2 and LOCAL_RANK 0 must lie in 0 … WORLD_SIZE - 1, and WORLD_SIZE is 2"),
        (WHOLE | {"LOCAL_RANK": "2"}, "LOCAL_RANK 2"),
        (WHOLE | {"WORLD_SIZE": "0"}, "WORLD_SIZE is 0"),
        (WHOLE | {"MASTER_PORT": "70000"}, "MASTER_PORT 70000 .* is not a port"),
    ],
)
def test_half_of_torchruns_variables_are_refused_by_name(monkeypatch, environment, reason):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=reason):
        distributed.check_environment()
    with pytest.raises(UserError, match=reason):
        stage_command("train")()
