"""The training loop: it learns, it repeats itself, and it resumes after a stop as if there had been none."""

import numpy as np
import pytest
import torch

from pipeline.errors import UserError, WsolError
from pipeline.models.attention_dropout import insert_after
from pipeline.training import trainer
from pipeline.training.batch import Batch
from pipeline.training.trainer import Trainer
from tests.training.trainings import settings, small_network, small_trainer


def weights(run):
    return {name: value.clone() for name, value in run.trained().state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_two_colours_and_reports_every_epoch(images):
    reported = []
    run = small_trainer(epochs=6)
    run.on_epoch = reported.append
    history = run.fit(images, images)
    assert reported == history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_accuracy"] == 100
    assert history[-1]["loss"] == pytest.approx(
        history[-1]["cross_entropy"] + 1e-4 * history[-1]["regularizer"], abs=1e-6
    )
    assert 0 <= history[-1]["entropy"] <= np.log(2)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(images):
    runs = [small_trainer(f"k{i}", seed) for i, seed in enumerate((0, 0, 1))]
    for run in runs:
        run.fit(images, images)
    assert_same(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0])["head.weight"], weights(runs[2])["head.weight"])


class Killed(Exception):
    """Stands for a kill."""


def stop_after(monkeypatch, steps):
    real, count = Trainer._train_step, iter(range(steps))

    def step(self, *arguments):
        if next(count, None) is None:
            raise Killed
        real(self, *arguments)

    monkeypatch.setattr(Trainer, "_train_step", step)


def count_steps(run):
    """A list that grows with every step a training takes."""
    taken, real = [], run._train_step

    def step(batch):
        taken.append(run.step)
        real(batch)

    run._train_step = step
    return taken


def stopped_and_resumed(images, monkeypatch, steps, **changes):
    """The whole training, and one that was stopped after some steps and taken up again."""
    whole = small_trainer("whole", **changes)
    whole.fit(images, images)
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(Killed):
            small_trainer("stopped", **changes).fit(images, images)
    resumed = small_trainer("stopped", **changes)
    taken = count_steps(resumed)
    resumed.fit(images, images)
    # It must not have begun anew, which would end with the same weights.
    kept = steps if trainer.LOOK_EVERY == 1 else steps - steps % 2
    assert len(taken) == 3 * 2 - kept
    return whole, resumed


def without_times(history):
    return [{k: v for k, v in row.items() if k not in {"seconds", "images_per_s"}} for row in history]


def after_every_step(monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(trainer, "LOOK_EVERY", 1)


@pytest.mark.parametrize("every_step", [False, True], ids=["checkpoint after epochs", "checkpoint after steps"])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_stopped_training_goes_on_to_the_same_weights(images, monkeypatch, steps, every_step):
    """Two steps an epoch: the stop falls inside the first, second and third epoch."""
    if every_step:
        after_every_step(monkeypatch)
    whole, resumed = stopped_and_resumed(images, monkeypatch, steps)
    assert_same(weights(whole), weights(resumed))
    assert without_times(whole.history) == without_times(resumed.history)


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.9},
        {"select": "best"},
        {"optimizer": "adamw", "lr": 0.001},
        {"precision": "float16", "clip": 1.0},
        {"schedule": "one_cycle", "accumulate": 2},
        {"erasing": "cutmix", "regularizer": "jeffreys"},
    ],
    ids=str,
)
def test_every_state_is_in_the_checkpoint(images, monkeypatch, changes):
    after_every_step(monkeypatch)
    whole, resumed = stopped_and_resumed(images, monkeypatch, 3, **changes)
    assert_same(weights(whole), weights(resumed))
    assert without_times(whole.history) == without_times(resumed.history)
    assert whole.selected_epoch == resumed.selected_epoch


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9, "select": "best"}], ids=str)
def test_a_finished_training_is_not_trained_again(images, changes):
    first, again = (small_trainer("same", **changes) for _ in range(2))
    first.fit(images, images)
    taken = count_steps(again)
    assert again.fit(images, images) == first.history
    assert taken == []
    assert_same(weights(first), weights(again))
    assert first.selected_epoch == again.selected_epoch


def test_a_damaged_checkpoint_is_set_aside(images, capsys):
    whole, started = small_trainer("whole"), small_trainer("damaged")
    whole.fit(images, images)
    started.checkpoint.save({"epoch": 1})
    started.checkpoint.path.write_bytes(started.checkpoint.path.read_bytes()[:100])
    started.fit(images, images)
    assert "is damaged; training starts anew" in " ".join(capsys.readouterr().err.split())
    assert_same(weights(whole), weights(started))


def test_another_key_never_sees_the_checkpoint(images, monkeypatch):
    fresh = small_trainer("fresh", **{"lambda": 0.5})
    fresh.fit(images, images)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Killed):
            small_trainer("old").fit(images, images)
    changed = small_trainer("new", **{"lambda": 0.5})
    changed.fit(images, images)
    assert_same(weights(fresh), weights(changed))


def test_a_loss_that_is_not_finite_stops_with_the_place(images):
    run = small_trainer()
    torch.nn.init.constant_(run.network.head.weight, float("nan"))
    with pytest.raises(WsolError, match=r"not finite any more in epoch \d, at or before step \d"):
        run.fit(images, images)


def test_a_loss_far_above_guessing_stops_with_the_place(images):
    with pytest.raises(WsolError, match=r"diverges: the cross-entropy is .* in epoch \d, at or before step \d"):
        small_trainer(lr=1e3, optimizer="adamw", norm=False).fit(images, images)


def test_frozen_batch_norm_stays_as_it_was(images):
    run = small_trainer(freeze_batch_norm=True, pretrained=True)
    before = weights(run)
    run.fit(images, images)
    after = weights(run)
    frozen = [name for name in before if name.startswith(("backbone.1.", "backbone.4."))]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["backbone.0.weight"], after["backbone.0.weight"])


def test_what_is_inserted_after_a_frozen_norm_still_trains(images):
    run, seen = small_trainer(freeze_batch_norm=True, pretrained=True), set()

    class Spy(torch.nn.Module):
        def forward(self, features):
            seen.add(self.training)
            return features

    insert_after(run.network.backbone, ["1"], Spy)
    run.fit(images, images)
    assert seen == {True, False}


def test_a_frozen_backbone_stays_as_it_was_and_the_head_learns(images):
    run = small_trainer(freeze_backbone=True, pretrained=True)
    before = weights(run)
    run.fit(images, images)
    after = weights(run)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_keeps_float32_weights_and_learns(images, precision):
    run = small_trainer(precision=precision, epochs=6)
    history = run.fit(images, images)
    floating = [value for value in run.network.state_dict().values() if value.is_floating_point()]
    assert all(value.dtype == torch.float32 for value in floating)
    assert history[-1]["loss"] < history[0]["loss"]


def test_fewer_images_than_a_batch(images):
    assert len(small_trainer(batch_size=64, epochs=1).fit(images, images)) == 1


def test_parts_are_as_many_as_asked_for_and_differ_by_one_image_at_most():
    batch = Batch(torch.arange(6).view(6, 1, 1, 1), torch.arange(6), torch.arange(6, 12), share=0.25)
    parts = batch.parts(4)
    assert [part.labels.tolist() for part in parts] == [[0, 1], [2, 3], [4], [5]]
    assert [part.others.tolist() for part in parts] == [[6, 7], [8, 9], [10], [11]]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert {part.share for part in parts} == {0.25}


def test_a_batch_of_fewer_images_than_parts_is_refused(images):
    with pytest.raises(UserError, match=r"the 10 images of a step .* cannot be split into 16 forward passes"):
        small_trainer(batch_size=32, accumulate=16).fit(images, images)


def test_going_on_with_another_number_of_processes_is_said(images, monkeypatch, capsys):
    first = small_trainer("k", epochs=1)
    first.fit(images, images)
    state = first.checkpoint.load()
    small_trainer("k", epochs=1).fit(images, images)
    assert "processes" not in capsys.readouterr().err
    first.checkpoint.save(state | {"processes": 2})
    small_trainer("k", epochs=1).fit(images, images)
    said = " ".join(capsys.readouterr().err.split())
    assert "2 processes made the checkpoint and 1 resume from it: the weights will not be exactly those" in said


def test_accumulated_gradients_are_those_of_the_whole_batch(images):
    """Without batch norm, whose statistics are those of a part."""
    runs = [small_trainer(str(n), norm=False, accumulate=n, batch_size=8, weight_decay=0.0) for n in (1, 4)]
    for run in runs:
        run.network.double()
        run.optimizer = trainer.build_optimizer(run.network, run.settings)
        run.fit(images, images)
    for one, other in zip(runs[0].network.parameters(), runs[1].network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_clipping_bounds_the_step(images):
    """One step of plain descent is as long as the learning rate times the clipped norm."""
    plain = {"epochs": 1, "batch_size": 10, "momentum": 1e-9, "schedule": "step", "warm_up": 0.0, "weight_decay": 0.0}
    run = small_trainer(clip=0.01, lr=0.1, **plain)
    before = [p.detach().clone() for p in run.network.parameters()]
    run.fit(images, images)
    moved = [(p.detach() - old).flatten() for p, old in zip(run.network.parameters(), before, strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_the_moving_average_is_the_model(images):
    run = small_trainer(ema=0.5, epochs=1, batch_size=10)
    start = run.network.head.weight.detach().clone()
    run.fit(images, images)
    # The first update copies the weights, as the average has no history.
    torch.testing.assert_close(run.trained().head.weight, run.network.head.weight)
    run.settings = run.settings.model_copy(update={"epochs": 2})
    first = run.network.head.weight.detach().clone()
    run.fit(images, images)
    expected = 0.5 * first + 0.5 * run.network.head.weight.detach()
    torch.testing.assert_close(run.trained().head.weight.detach(), expected)
    assert not torch.equal(start, first)


@pytest.mark.parametrize(("scale", "averaged"), [(2.0**8, 1), (2.0**100, 0)])
def test_a_step_that_overflowed_is_not_averaged(images, scale, averaged):
    """Gradients of float16 that are scaled too far are infinite: the optimizer leaves the weights as they are."""
    run = small_trainer(ema=0.5, precision="float16", epochs=1, batch_size=10)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    start = run.network.head.weight.detach().clone()
    run.fit(images, images)
    assert torch.equal(run.network.head.weight, start) == (not averaged)
    assert run.average.n_averaged.item() == averaged


def test_the_best_epoch_is_kept(images, monkeypatch):
    """Accuracies 50, 90, 70: the weights are those after the second epoch."""
    seen = []
    accuracies = iter((50.0, 90.0, 70.0))

    def validate(network, images, settings):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"val_loss": 1.0, "val_accuracy": next(accuracies)}

    monkeypatch.setattr(trainer, "validate", validate)
    run = small_trainer(select="best")
    run.fit(images, images)
    assert run.selected_epoch == 2
    assert_same(weights(run), seen[1])
    assert not torch.equal(seen[1]["head.weight"], seen[2]["head.weight"])


def test_the_last_epoch_is_kept_by_default(images):
    run = small_trainer()
    run.fit(images, images)
    assert run.selected_epoch == 3
    assert_same(weights(run), dict(run.network.state_dict()))


def test_adversarial_erasing_hides_what_the_first_network_finds(images):
    chosen = settings(erasing="ae", ae_threshold=0.5)
    first = small_trainer("first", erasing="ae", ae_threshold=0.5)
    first.fit(images, images)
    second = Trainer(
        small_network(chosen), chosen, 0, trainer.Checkpoint("second"), lambda row: None, [first.trained()]
    )
    batch = torch.randint(0, 255, (4, 3, 36, 36), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1])
    untouched = small_trainer("untouched", erasing="ae")
    plain, erased = (run._batch(batch, labels, 4).images for run in (untouched, second))
    changed = (plain.long() - erased.long()).abs().amax(dim=1) > 0
    mean = second.network.mean.flatten().round().to(torch.uint8)
    hidden = (erased == mean[:, None, None]).all(dim=1)
    assert torch.equal(changed, changed & hidden)
    assert all(0 < share < 1 for share in hidden.double().mean(dim=(1, 2)))
