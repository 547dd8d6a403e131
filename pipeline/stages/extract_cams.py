"""Maps of the true and the predicted class for every val, gate and test image, at the resolution of the features.

Reads data/labelled, the images (of train too for method ddt), models/model.pt, extract_cams.*, train.crop,
train.resize and train.precision; writes
cams/{val,gate,test}/NNNNN.npz with image_ids (n,), classes (n, 2) = true, predicted, maps (n, 2, h, w) float32 and
logits (n, C) float32. A new threshold never comes back here, and another map method never trains again.
"""

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import console
from pipeline.cams.extractor import Extractor, Views
from pipeline.cams.foreground import Foreground
from pipeline.data.images import batches
from pipeline.data.manifest import Dataset, read_dataset
from pipeline.files import CAMS, LABELLED, MODELS, SHARD_SIZE, replacing_folder, write_shard
from pipeline.models.localizer import Localizer, device, load_localizers
from pipeline.params import Params
from pipeline.records import Inputs, write_record

Shard = dict[str, NDArray[Any]]
#: Groups of positions, and the side of the square the images are squashed to → a batch for each group.
Read = Callable[[list[NDArray[np.int64]], int], Iterator[Tensor]]


def run(params: Params) -> dict[str, Any]:
    """Extract the maps; returns the number of images per split."""
    inputs = Inputs(LABELLED, MODELS)
    dataset = read_dataset(LABELLED, read=inputs.read)
    networks, architecture = load_localizers(MODELS / "model.pt", inputs.read)
    networks = [network.to(device()) for network in networks]
    foreground = _fitted_foreground(networks[0], dataset, params) if params.extract_cams.method == "ddt" else None
    extractor = Extractor(
        networks, architecture["ae_threshold"], params.extract_cams, params.train.precision, foreground
    )
    counts = {}
    with replacing_folder(CAMS) as folder:
        for split in dataset.evaluated:
            counts[split] = len(dataset.split(split))
            (folder / split).mkdir()
            shards = _shards(dataset, split, extractor, params)
            total = -(-counts[split] // SHARD_SIZE)
            for number, shard in enumerate(console.progress(shards, total, f"maps of {split}", "shards")):
                write_shard(folder / split, number, shard)
        write_record(folder, CAMS, inputs, params)
    return counts


@torch.no_grad()
def _fitted_foreground(network: Localizer, dataset: Dataset, params: Params) -> Foreground:
    settings, read = params.extract_cams, _reader(dataset, "train")
    foreground = Foreground(network, settings.ddt_sources, settings.ddt_context, params.train.precision)
    groups = _groups(np.arange(len(dataset.split("train"))), settings.batch_size)
    images = zip(_by_side(read, groups, params), read(groups, params.train.crop), strict=True)
    foreground.fit(console.progress(images, len(groups), "descriptors of train", "batches"))
    return foreground


def _by_side(read: Read, groups: list[NDArray[np.int64]], params: Params) -> Iterator[dict[int, Tensor]]:
    """The images of each group in all sizes that deep descriptor transforming reads; files are read once for each."""
    sides = sorted({side for _, side in params.extract_cams.ddt_sources})
    for images in zip(*(read(groups, side) for side in sides), strict=True):
        yield dict(zip(sides, images, strict=True))


def _reader(dataset: Dataset, split: str) -> Read:
    """What reads groups of the split's images, squashed to a square of some side."""
    paths = dataset.paths(split)
    return lambda groups, side: map(_to_device, batches(paths, groups, side, upright=dataset.upright))


def _shards(dataset: Dataset, split: str, extractor: Extractor, params: Params) -> Iterator[Shard]:
    rows = dataset.split(split)
    labels = np.array([labels[0] for labels in rows["labels"]], np.int64)
    ids = rows["image_id"].to_numpy(dtype=str)
    for start in range(0, len(rows), SHARD_SIZE):
        positions = np.arange(start, min(start + SHARD_SIZE, len(rows)))
        groups = _groups(positions, params.extract_cams.batch_size)
        views = _views(_reader(dataset, split), groups, params)
        parts = [_forward(extractor, labels[group], view) for group, view in zip(groups, views, strict=True)]
        shard = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        yield {"image_ids": ids[positions]} | shard


def _groups(positions: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return np.split(positions, range(size, len(positions), size))


def _views(read: Read, groups: list[NDArray[np.int64]], params: Params) -> Iterator[Views]:
    """The images of each group, in the sizes that the method needs."""
    settings = params.extract_cams
    whole = read(groups, params.train.crop)
    resized = read(groups, params.train.resize) if settings.ten_crop else repeat(None)
    large = _by_side(read, groups, params) if settings.method == "ddt" else repeat({})
    for one, other, by_side in zip(whole, resized, large, strict=False):
        yield Views(one, other, by_side)


@torch.no_grad()
def _forward(extractor: Extractor, labels: NDArray[np.int64], views: Views) -> Shard:
    classes, maps, logits = extractor(_to_device(labels), views)
    return {"classes": classes.cpu().numpy(), "maps": maps.cpu().numpy(), "logits": logits.cpu().numpy()}


def _to_device(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array).to(device())
