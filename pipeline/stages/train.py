"""Train the classifier from image labels alone; a killed training resumes from its last checkpoint.

Reads data/labelled, the images, train.* and seed; writes models/ (model.pt, record.json, history.csv, training.json).
Metrics are streamed to MLflow while it trains; where no server answers, training continues without. On several GPUs it
starts itself as one process for each; on several machines start it by `torchrun … -m pipeline train`.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pipeline import console
from pipeline.data.manifest import Dataset, read_dataset
from pipeline.errors import DataError
from pipeline.files import LABELLED, MODELS, file_hash, replacing_files, write_csv
from pipeline.models.attention_dropout import AttentionDropout, RegionDropout, insert_after
from pipeline.models.backbones import check_region_fits
from pipeline.models.localizer import Localizer, build_localizer, device, save_localizers
from pipeline.models.pretrained import load_pretrained
from pipeline.models.zoo import BACKBONES
from pipeline.params import Params, TrainParams
from pipeline.records import Inputs, write_record, write_sealed
from pipeline.system.git import source_commit
from pipeline.system.locks import exclusive_lock, is_held
from pipeline.system.state import training_lock
from pipeline.tracking.runs import LiveRun, live_run
from pipeline.training.checkpoint import Checkpoint, train_key
from pipeline.training.distributed import process_group, rank
from pipeline.training.trainer import Trainer
from pipeline.training.validation import LabelledImages

#: Columns of history.csv, one row per epoch.
COLUMNS = ("epoch", "lr", "loss", "cross_entropy", "regularizer", "entropy", "accuracy", "val_loss", "val_accuracy",
           "images_per_s", "seconds")  # fmt: skip


@dataclass(frozen=True)
class _Training:
    """What is kept of a training; its optimizer and averages are not, while the next network of several trains."""

    history: list[dict[str, float]]
    network: Localizer
    selected_epoch: int
    finished: str


def run(params: Params) -> dict[str, Any]:
    """Train and write the model; returns the last epoch's figures."""
    inputs = Inputs(LABELLED)
    dataset, settings, key = read_dataset(LABELLED, read=inputs.read), params.train, train_key(params)
    if rank() != 0:
        console.silence()
    console.say(f"{settings.backbone} on {_device_name()}, λ = {settings.lambda_:g} ({settings.regularizer})")
    with _training_to_itself(key), process_group():
        if rank() != 0:
            _train(params, dataset, key, LiveRun())
            return {}
        with live_run(params.track.experiment, key) as live:
            trainings = _train(params, dataset, key, live)
    # The finished checkpoint stays until `track`: if this is killed before DVC has the outputs, nothing is lost.
    _write(trainings, params, len(dataset.classes), key, inputs)
    # Of adversarial erasing the first network classifies.
    last = trainings[0].history[-1]
    return {"epochs": sum(len(t.history) for t in trainings), "val_accuracy": round(last["val_accuracy"], 2)}


def _training_to_itself(key: str) -> AbstractContextManager[object]:
    """Of workspaces that train the same one is at work; the others then resume from its checkpoint, which is finished.

    Of several processes that train together the first one holds the lock.
    """
    if rank() != 0:
        return nullcontext()
    if is_held(training_lock(key)):
        console.say(f"the same training is at work elsewhere ({training_lock(key)} is held); waiting for it …")
    return exclusive_lock(training_lock(key), "the same training", inf)


def _train(params: Params, dataset: Dataset, key: str, live: LiveRun) -> list[_Training]:
    """One training, or those of adversarial erasing, each going on from its own checkpoint."""
    train, val = (_images(dataset, split) for split in ("train", "val"))
    trainings: list[_Training] = []
    for number in range(params.train.ae_steps if params.train.erasing == "ae" else 1):
        network = _initial_network(_architecture(params.train, len(dataset.classes)), params)
        earlier = [training.network for training in trainings]
        log = partial(_log, live, number * params.train.epochs)
        checkpoint = Checkpoint(f"{key}-{number}")
        trainings.append(_fit(Trainer(network, params.train, params.seed, checkpoint, log, earlier), train, val))
    return trainings


def _fit(trainer: Trainer, train: LabelledImages, val: LabelledImages) -> _Training:
    return _Training(trainer.fit(train, val), trainer.trained(), trainer.selected_epoch, trainer.checkpoint.saved_at())


def _log(live: LiveRun, done: int, row: dict[str, float]) -> None:
    live.log(row, done + int(row["epoch"]))


def _write(trainings: list[_Training], params: Params, classes: int, key: str, inputs: Inputs) -> None:
    networks = [training.network for training in trainings]
    rows = [row for training in trainings for row in training.history]
    facts = {
        "train_key": key,
        "device": _device_name(),
        "seconds": sum(row["seconds"] for row in rows),
        "parameters": sum(p.numel() for network in networks for p in network.parameters()),
        "selected_epoch": trainings[0].selected_epoch,
        "weights": _weights(params.train),
        "commit": source_commit(Path(), "pipeline", "dvc.yaml"),
        "finished": trainings[-1].finished,
    }
    history = pd.DataFrame(rows)[list(COLUMNS)].assign(epoch=range(1, len(rows) + 1))
    with replacing_files(MODELS) as folder:
        save_localizers(folder / "model.pt", networks, _architecture(params.train, classes))
        # Times differ from one training to the next: maps must not be made anew for them.
        record = write_record(folder, MODELS, inputs, params, only=("model.pt",))
        write_csv(folder / "history.csv", history)
        seals = {"history": file_hash(folder / "history.csv"), "model": record.identity}
        write_sealed(folder / "training.json", facts | seals)


def _weights(settings: TrainParams) -> dict[str, str]:
    """Path and content of the file that the training started from, if any, for the check of the next run."""
    if not isinstance(settings.pretrained, str):
        return {}
    path = Path(settings.pretrained)
    return {str(path): file_hash(path)}


def _architecture(settings: TrainParams, classes: int) -> dict[str, Any]:
    """All that the network is built from, without what is only done to it in training."""
    names = ("backbone", "stride", "head", "tap_threshold", "acol_threshold", "acol_width")
    return {name: getattr(settings, name) for name in names} | {
        "classes": classes,
        "ae_threshold": settings.ae_threshold,
    }


def _initial_network(architecture: dict[str, Any], params: Params) -> Localizer:
    torch.manual_seed(params.seed)
    network, settings = build_localizer(architecture), params.train
    load_pretrained(network.backbone, settings.backbone, settings.pretrained)
    sites = BACKBONES[settings.backbone].attention_sites
    if settings.erasing == "adl":
        insert_after(network.backbone, sites, lambda: AttentionDropout(settings.dropout_rate, settings.adl_threshold))
    if settings.erasing == "rdap":
        check_region_fits(network.backbone, settings.backbone, settings.crop, settings.rdap_size)
        insert_after(network.backbone, sites, lambda: RegionDropout(settings.dropout_rate, settings.rdap_size))
    return network


def _images(dataset: Dataset, split: str) -> LabelledImages:
    rows = dataset.split(split)
    if rows.empty:
        raise DataError(f"split {split} has no image; run prepare with another prepare.val_fraction or data set.")
    return LabelledImages(dataset.paths(split), dataset.labels(split), dataset.upright)


def _device_name() -> str:
    return torch.cuda.get_device_name() if device().type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
