"""The training loop: it learns, it repeats itself, and it goes on after a stop as if there had been none."""

import cv2
import numpy as np
import pytest
import torch

from pipeline.errors import WsolError
from pipeline.models.localizer import build_localizer
from pipeline.params import TrainParams
from pipeline.training import loop
from pipeline.training.loop import LabelledImages, Trainer
from pipeline.training.resume import Checkpoint

SETTINGS = {
    "backbone": "resnet18", "pretrained": False, "head": "gap", "regularizer": "kl_uniform", "lambda": 1e-4,
    "resize": 36, "crop": 32, "epochs": 3, "batch_size": 4, "lr": 0.02, "head_lr_factor": 1.0, "momentum": 0.9,
    "weight_decay": 5e-4, "freeze_batch_norm": False, "precision": "float32",
}  # fmt: skip


@pytest.fixture
def images(tmp_path):
    """Ten images of two plain colours."""
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(0, 60, (40, 40, 3))
        noise[..., i % 2] += 150
        cv2.imwrite(str(path), noise.astype(np.uint8))
    return LabelledImages(paths, np.arange(10) % 2)


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))


def trainer(key="k", seed=0, on_epoch=lambda row: None, **changes):
    torch.manual_seed(seed)
    network = build_localizer({"backbone": "resnet18", "head": "gap", "classes": 2})
    return Trainer(network, TrainParams(**(SETTINGS | changes)), seed, Checkpoint(key), on_epoch)


def weights(run):
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_two_colours_and_reports_every_epoch(images):
    reported = []
    run = trainer(epochs=6, on_epoch=reported.append)
    history = run.fit(images, images)
    assert reported == history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_accuracy"] == 100
    assert history[-1]["loss"] == pytest.approx(
        history[-1]["cross_entropy"] + 1e-4 * history[-1]["regularizer"], abs=1e-9
    )
    assert 0 <= history[-1]["entropy"] <= np.log(2)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(images):
    runs = [trainer(f"k{i}", seed) for i, seed in enumerate((0, 0, 1))]
    for run in runs:
        run.fit(images, images)
    assert_same(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0])["head.weight"], weights(runs[2])["head.weight"])


class Killed(Exception):
    """Stands for a kill."""


def _stop_after(monkeypatch, steps):
    real, count = Trainer._train_step, iter(range(steps))

    def step(self, *arguments):
        if next(count, None) is None:
            raise Killed
        real(self, *arguments)

    monkeypatch.setattr(Trainer, "_train_step", step)


@pytest.mark.parametrize("every", [300.0, 0.0], ids=["checkpoint after epochs", "checkpoint after steps"])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_stopped_training_goes_on_to_the_same_weights(images, monkeypatch, steps, every):
    """Two steps an epoch: the stop falls inside the first, second and third epoch."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", every)
    whole = trainer("whole")
    history = whole.fit(images, images)
    with monkeypatch.context() as patch:
        _stop_after(patch, steps)
        with pytest.raises(Killed):
            trainer("stopped").fit(images, images)
    resumed = trainer("stopped")
    again = resumed.fit(images, images)
    assert_same(weights(whole), weights(resumed))
    timing = {"seconds", "images_per_s"}
    assert [{k: v for k, v in row.items() if k not in timing} for row in again] == [
        {k: v for k, v in row.items() if k not in timing} for row in history
    ]


def test_a_damaged_checkpoint_is_set_aside(images, capsys):
    whole, started = trainer("whole"), trainer("damaged")
    whole.fit(images, images)
    started.checkpoint.save({"epoch": 1})
    started.checkpoint.path.write_bytes(started.checkpoint.path.read_bytes()[:100])
    started.fit(images, images)
    assert "is damaged; training starts anew" in " ".join(capsys.readouterr().err.split())
    assert_same(weights(whole), weights(started))


def test_another_key_never_sees_the_checkpoint(images, monkeypatch):
    fresh = trainer("fresh", **{"lambda": 0.5})
    fresh.fit(images, images)
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        with pytest.raises(Killed):
            trainer("old").fit(images, images)
    changed = trainer("new", **{"lambda": 0.5})
    changed.fit(images, images)
    assert_same(weights(fresh), weights(changed))


def test_a_loss_that_is_not_finite_stops_with_the_place(images):
    with pytest.raises(WsolError, match=r"not finite any more in epoch \d, at or before step \d"):
        trainer(lr=1e30).fit(images, images)


def test_frozen_batch_norm_stays_as_it_was(images):
    run = trainer(freeze_batch_norm=True)
    before = weights(run)
    run.fit(images, images)
    after = weights(run)
    frozen = [name for name in before if ".bn" in name or "backbone.bn" in name]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["backbone.conv1.weight"], after["backbone.conv1.weight"])


def test_mixed_precision_keeps_float32_weights_and_learns(images):
    run = trainer(precision="bfloat16", epochs=6)
    history = run.fit(images, images)
    assert all(value.dtype != torch.bfloat16 for value in run.network.state_dict().values())
    assert history[-1]["loss"] < history[0]["loss"]


def test_fewer_images_than_a_batch(images):
    assert len(trainer(batch_size=64, epochs=1).fit(images, images)) == 1
