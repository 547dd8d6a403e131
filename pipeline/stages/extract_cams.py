"""Maps of the true and the predicted class for every val, gate and test image, at the resolution of the features.

Reads data/labelled, the images (of train too where the method learns from them), models/model.pt, extract_cams.*,
train.crop, train.resize, train.precision; writes cams/{val,gate,test}/NNNNN.npz with image_ids (n,), classes (n, 2) =
true, predicted, maps (n, 2, h, w) float32 and logits (n, C) float32, and what the method has learnt as
cams/fitted.safetensors. Where images may have several labels, each has counts (n,) maps, for the classes that it shows
or is predicted to show: classes (m,) and maps (m, h, w). A new threshold never comes back here, and another map method
never trains again.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from pipeline import console
from pipeline.cams.extractor import Extractor
from pipeline.cams.views import Views
from pipeline.data.images import batches
from pipeline.data.manifest import Dataset, read_dataset
from pipeline.files import CAMS, FITTED, LABELLED, MODELS, SHARD_SIZE, replacing_folder, write_bytes, write_shard
from pipeline.models.localizer import device, load_localizers
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
    extractor = Extractor(networks, architecture["ae_threshold"], params.extract_cams, params.train.precision)
    _fit(extractor, dataset, params)
    counts = {}
    with replacing_folder(CAMS) as folder:
        for split in dataset.evaluated:
            counts[split] = len(dataset.split(split))
            (folder / split).mkdir()
            shards = _shards(dataset, split, extractor, params)
            total = -(-counts[split] // SHARD_SIZE)
            for number, shard in enumerate(console.progress(shards, total, f"maps of {split}", "shards")):
                write_shard(folder / split, number, shard)
        if state := extractor.methods[0].state():
            write_bytes(folder / FITTED, save(state))
        write_record(folder, CAMS, inputs, params)
    return counts


@torch.no_grad()
def _fit(extractor: Extractor, dataset: Dataset, params: Params) -> None:
    """Show the training images to methods that learn from them."""
    groups, read = (
        _groups(np.arange(len(dataset.split("train"))), params.extract_cams.batch_size),
        _reader(dataset, "train"),
    )
    for method in extractor.methods:
        if method.fitted:
            images = zip(read(groups, params.train.crop), _by_side(read, groups, method.sides), strict=True)
            views = (Views(whole, large=large) for whole, large in images)
            method.fit(console.progress(views, len(groups), "descriptors of train", "batches"))


def _by_side(read: Read, groups: list[NDArray[np.int64]], sides: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """The images of each group in all sizes that the method asks for; files are read once for each."""
    for images in zip(*(read(groups, side) for side in sides), strict=True):
        yield dict(zip(sides, images, strict=True))


def _reader(dataset: Dataset, split: str) -> Read:
    """What reads groups of the split's images, squashed to a square of some side."""
    paths = dataset.paths(split)
    return lambda groups, side: map(_to_device, batches(paths, groups, side, upright=dataset.upright))


def _shards(dataset: Dataset, split: str, extractor: Extractor, params: Params) -> Iterator[Shard]:
    labels = dataset.labels(split)
    ids = dataset.split(split)["image_id"].to_numpy(dtype=str)
    for start in range(0, len(ids), SHARD_SIZE):
        positions = np.arange(start, min(start + SHARD_SIZE, len(ids)))
        groups = _groups(positions, params.extract_cams.batch_size)
        views = _views(_reader(dataset, split), groups, params, extractor.methods[0].sides)
        parts = [_forward(extractor, labels[group], view) for group, view in zip(groups, views, strict=True)]
        shard = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        yield {"image_ids": ids[positions]} | shard


def _groups(positions: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return np.split(positions, range(size, len(positions), size))


def _views(read: Read, groups: list[NDArray[np.int64]], params: Params, sides: Sequence[int]) -> Iterator[Views]:
    """The images of each group, in the sizes that are needed."""
    settings = params.extract_cams
    whole = read(groups, params.train.crop)
    resized = read(groups, params.train.resize) if settings.ten_crop else repeat(None)
    large = _by_side(read, groups, sides) if sides else repeat({})
    for one, other, by_side in zip(whole, resized, large, strict=False):
        yield Views(one, other, by_side)


@torch.no_grad()
def _forward(extractor: Extractor, labels: NDArray[np.int64], views: Views) -> Shard:
    classes, maps, logits = (found.cpu().numpy() for found in extractor(_to_device(labels), views))
    if labels.ndim == 1:
        return {"classes": classes, "maps": maps, "logits": logits}
    there = classes >= 0
    return {"counts": there.sum(axis=1), "classes": classes[there], "maps": maps[there], "logits": logits}


def _to_device(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array).to(device())
