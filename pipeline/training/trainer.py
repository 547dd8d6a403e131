"""The training loop.

Order of images, augmentation and erasing are functions of ``(seed, epoch, step)`` and the learning rate one of the
step, so a training that resumes from a checkpoint repeats exactly what an uninterrupted one would have done. Under
``torchrun`` each process takes its part of every batch; the gradients, and so the weights, are those of all of it.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline import console
from pipeline.data.images import batches
from pipeline.errors import WsolError
from pipeline.models.localizer import Localizer, device
from pipeline.models.precision import at_least_float32, autocast, loss_scaler
from pipeline.params import TrainParams
from pipeline.training.augment import Windows, crop_and_flip, random_windows
from pipeline.training.batch import Batch, erased, loss_terms
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.distributed import check_shares, from_first, rank, share_buffers, sum_over_processes, world_size
from pipeline.training.objective import correct, guessing, uncertainty
from pipeline.training.optim import build_optimizer, schedule_factor, set_learning_rate
from pipeline.training.validation import LabelledImages, validate

#: Seconds between two checkpoints inside an epoch.
CHECKPOINT_EVERY = 300.0
#: Steps between two looks at the loss; each look waits for the GPU.
LOOK_EVERY = 50
#: A cross-entropy of this many times that of guessing has diverged.
DIVERGED = 10.0

_SUMS = ("loss", "cross_entropy", "regularizer", "entropy", "accuracy")


class Trainer:
    """One training of a network.

    Args:
        network: trained in place.
        settings: schedule and loss.
        seed: of order and augmentation.
        checkpoint: where to resume from, and where to save.
        on_epoch: called with each epoch's row of the history.
        earlier: networks of adversarial erasing that were trained before this one.
    """

    def __init__(
        self,
        network: Localizer,
        settings: TrainParams,
        seed: int,
        checkpoint: Checkpoint,
        on_epoch: Callable[[dict[str, float]], None],
        earlier: Sequence[Localizer] = (),
    ) -> None:
        self.settings, self.seed, self.checkpoint, self.on_epoch = settings, seed, checkpoint, on_epoch
        self.device = device()
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.network = network.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.earlier = [found.to(self.device).eval() for found in earlier]
        _train_mode(network, settings)
        self.average = _moving_average(network, settings.ema) if settings.ema else None
        self.parallel = DistributedDataParallel(network) if world_size() > 1 else None
        forward = self.parallel or self.network
        self.forward = torch.compile(forward) if settings.compile else forward
        self.optimizer = build_optimizer(network, settings)
        self.scaler = loss_scaler(settings.precision)
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = self.looked = 0
        self.seconds = self.guessing = 0.0
        self.best: dict[str, Any] = {"accuracy": -1.0}
        self.sums, self.totals = (torch.zeros(len(_SUMS), dtype=torch.float64, device=self.device) for _ in range(2))

    def fit(self, train: LabelledImages, val: LabelledImages) -> list[dict[str, float]]:
        """Train to the end, from the checkpoint where there is one; returns a row per epoch.

        Raises:
            WsolError: the loss is not finite any more, or has diverged.
            UserError: there are fewer images than processes, or fewer in a process's batch than parts of it.
        """
        check_shares(len(train.paths), self._batch_size(train), self.settings)
        self.guessing = guessing(train.labels)
        self._resume()
        while self.epoch < self.settings.epochs:
            self._train_epoch(train)
            share_buffers(self._model())
            row = {"epoch": self.epoch + 1} | self._means(train) | validate(self._model(), val, self.settings)
            row |= {"lr": self.optimizer.param_groups[0]["lr"], "seconds": self.seconds}
            if not math.isfinite(row["val_loss"]):
                self._stop("the loss on val is not finite any more")
            row["images_per_s"] = self._steps(train) * self._batch_size(train) / self.seconds
            self._finish_epoch(row)
        return self.history

    def trained(self) -> Localizer:
        """The network that ``train.select`` and ``train.ema`` name, after :meth:`fit`."""
        if "network" in self.best:
            self._model().load_state_dict(self.best["network"])
        return self._model()

    @property
    def selected_epoch(self) -> int:
        """The epoch that :meth:`trained` is from, counted from 1."""
        return int(self.best.get("epoch", self.epoch))

    def _model(self) -> Localizer:
        """The network that is validated and kept: the moving average of the weights where there is one."""
        return self.average.module if self.average else self.network  # type: ignore[return-value]

    def _finish_epoch(self, row: dict[str, float]) -> None:
        self.history.append(row)
        self.epoch, self.step, self.looked, self.seconds = self.epoch + 1, 0, 0, 0.0
        self.totals.zero_()
        if self.settings.select == "best" and row["val_accuracy"] > self.best["accuracy"]:
            state = {name: value.detach().cpu().clone() for name, value in self._model().state_dict().items()}
            self.best = {"accuracy": row["val_accuracy"], "epoch": self.epoch, "network": state}
        self._save()
        if rank() == 0:
            self.on_epoch(row)
        self._say(row)

    def _train_epoch(self, train: LabelledImages) -> None:
        _train_mode(self.network, self.settings)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(train.paths))
        size, steps = self._batch_size(train), self._steps(train)
        part = _part_of(size)
        groups = [order[step * size : (step + 1) * size][part] for step in range(self.step, steps)]
        images = batches(train.paths, groups, self.settings.resize, upright=train.upright)
        title = f"epoch {self.epoch + 1}/{self.settings.epochs}"
        started = saved = time.monotonic()
        before = self.seconds
        for group, batch in zip(groups, console.progress(images, len(groups), title, "batches"), strict=True):
            set_learning_rate(self.optimizer, schedule_factor(self.epoch * steps + self.step, steps, self.settings))
            self._train_step(self._batch(torch.from_numpy(batch), torch.from_numpy(train.labels[group]), size))
            self.seconds = before + time.monotonic() - started
            if self.step % LOOK_EVERY == 0 or self.step == steps:
                self._look()
                if time.monotonic() - saved >= CHECKPOINT_EVERY:
                    self._save()
                    saved = time.monotonic()

    def _batch(self, images: Tensor, labels: Tensor, size: int) -> Batch:
        """Augment this process's part of a batch of ``size`` images: windows as if it had them all, erasing its own."""
        place = [self.seed, self.epoch, self.step]
        rng = np.random.default_rng(place)
        windows: Windows = random_windows(size, self.settings.resize - self.settings.crop, rng)[_part_of(size)]
        images, labels = self._to_device(images), self._to_device(labels)
        cropped = crop_and_flip(images, windows, self.settings.crop).contiguous(memory_format=self.layout)
        rng = np.random.default_rng([*place, rank()])
        # What the network itself draws, attention dropout for one, also depends on nothing but the place.
        torch.manual_seed(int(rng.integers(2**63)))
        return erased(cropped, labels, self.settings, self.earlier, self.network, rng)

    def _train_step(self, batch: Batch) -> None:
        self.optimizer.zero_grad()
        parts = batch.parts(self.settings.accumulate)
        for part in parts:
            self._backward(part, len(part.labels) / len(batch.labels), part is parts[-1])
        if self.settings.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # The scale falls where gradients overflowed, and then no step was taken.
        if self.average and self.scaler.get_scale() >= scale:
            self.average.update_parameters(self.network)
        self.step += 1

    def _backward(self, batch: Batch, share: float, last: bool) -> None:
        """Add the gradient of a part of a batch; processes exchange gradients once, with the last part."""
        with nullcontext() if last or self.parallel is None else self.parallel.no_sync():
            with autocast(self.settings.precision):
                logits = self.forward(batch.images, batch.labels)
            logits = at_least_float32(logits)
            loss, *terms = loss_terms(logits, batch, self.settings.regularizer, self.settings.lambda_)
            self.scaler.scale(share * loss).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            right = correct(logits[0], batch.labels).double().mean()
            unsure = uncertainty(logits[0], batch.labels).mean()
            self.sums += share * torch.stack([loss, *terms, unsure, right]).double()

    def _means(self, train: LabelledImages) -> dict[str, float]:
        means = dict(zip(_SUMS, (self.totals / self._steps(train)).tolist(), strict=True))
        return means | {"accuracy": 100 * means["accuracy"]}

    def _look(self) -> None:
        """Gather what was summed since the last look from all processes, and stop a training that is lost."""
        window = sum_over_processes(self.sums) / world_size()
        self.totals += window
        loss, cross_entropy = (window[:2] / (self.step - self.looked)).tolist()
        self.sums.zero_()
        self.looked = self.step
        if not math.isfinite(loss):
            self._stop("the loss is not finite any more")
        if cross_entropy > DIVERGED * self.guessing:
            self._stop(f"training diverges: the cross-entropy is {cross_entropy:.3g}, far above that of guessing,")

    def _stop(self, what: str) -> None:
        raise WsolError(
            f"{what} in epoch {self.epoch + 1}, at or before step {self.step}. "
            "Lower train.lr or train.lambda; nothing was written, and the last checkpoint is kept."
        )

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _batch_size(self, train: LabelledImages) -> int:
        """Images of a step, over all processes: a multiple of their number."""
        size = min(self.settings.batch_size, len(train.paths))
        return max(1, size // world_size()) * world_size()

    def _steps(self, train: LabelledImages) -> int:
        """Steps of an epoch; images that do not fill a last batch wait for another epoch's order."""
        return len(train.paths) // self._batch_size(train)

    def _resume(self) -> None:
        state = from_first(self.checkpoint.load() if rank() == 0 else None)
        if state is None:
            return
        for name in ("history", "epoch", "step", "seconds", "best"):
            setattr(self, name, state[name])
        if state["processes"] != world_size():
            console.warn(
                f"{state['processes']} processes made the checkpoint and {world_size()} resume from it: the weights "
                "will not be exactly those of a training without a stop"
            )
        self.looked = self.step
        self.totals.copy_(state["totals"])
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])
        console.say(f"going on from the checkpoint after epoch {self.epoch}, step {self.step}")

    def _save(self) -> None:
        if rank() != 0:
            return
        state = {name: getattr(self, name) for name in ("history", "epoch", "step", "seconds", "best", "totals")}
        state["processes"] = world_size()
        self.checkpoint.save(state | {name: part.state_dict() for name, part in self._stateful().items()})

    def _stateful(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "scaler": self.scaler, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}

    def _say(self, row: dict[str, float]) -> None:
        left = (self.settings.epochs - self.epoch) * row["seconds"]
        console.say(
            f"epoch {self.epoch}/{self.settings.epochs}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.1f} %, "
            f"val {row['val_accuracy']:.1f} %, {row['images_per_s']:.0f} images/s, {left:.0f} s left"
        )


def _part_of(size: int) -> slice:
    """This process's part of a batch."""
    share = size // world_size()
    return slice(rank() * share, (rank() + 1) * share)


def _moving_average(network: Localizer, decay: float) -> AveragedModel:
    """Exponential moving average of weights and batch statistics (Polyak and Juditsky, 1992)."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


def _train_mode(network: Localizer, settings: TrainParams) -> None:
    """Everything trains but what the settings freeze."""
    network.train()
    if settings.freeze_backbone:
        network.backbone.eval().requires_grad_(False)
    if settings.freeze_batch_norm:
        _freeze_batch_norm(network)


def _freeze_batch_norm(network: nn.Module) -> None:
    """Keep pretrained statistics and affine weights: small batches of a small data set would only blur them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Not eval(), which is for its children too: a norm that ends with its activation can be an attention site.
            module.training = False
            module.requires_grad_(False)
