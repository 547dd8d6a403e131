"""Maps of the true and the predicted class for every val and test image, at the resolution of the features.

Reads data/prepared, the images, models/model.pt, extract_cams.*, train.crop and train.resize; writes
cams/{val,test}/NNNNN.npz with image_ids (n,), classes (n, 2) = true, predicted, maps (n, 2, h, w) float32 and logits
(n, C) float32. A new threshold never comes back here, and another map method never trains again.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import console
from pipeline.data.loading import batches
from pipeline.files import CAMS, EVALUATED_SPLITS, MODELS, SHARD_SIZE, replacing_folder, write_shard
from pipeline.manifest import Dataset, read_dataset
from pipeline.models.localizer import device, load_localizers
from pipeline.models.maps import Extractor
from pipeline.params import Params

Shard = dict[str, NDArray[Any]]


def run(params: Params) -> dict[str, Any]:
    """Extract the maps; returns the number of images per split."""
    dataset = read_dataset()
    networks, architecture = load_localizers(MODELS / "model.pt")
    extractor = Extractor(
        [network.to(device()) for network in networks], architecture["ae_threshold"], params.extract_cams
    )
    counts = {}
    with replacing_folder(CAMS) as folder:
        for split in EVALUATED_SPLITS:
            counts[split] = len(dataset.split(split))
            (folder / split).mkdir()
            shards = _shards(dataset, split, extractor, params)
            total = -(-counts[split] // SHARD_SIZE)
            for number, shard in enumerate(console.progress(shards, total, f"maps of {split}", "shards")):
                write_shard(folder / split, number, shard)
    return counts


def _shards(dataset: Dataset, split: str, extractor: Extractor, params: Params) -> Iterator[Shard]:
    rows = dataset.split(split)
    paths = [dataset.root / Path(path) for path in rows["path"]]
    labels = np.array([labels[0] for labels in rows["labels"]], np.int64)
    ids = rows["image_id"].to_numpy(dtype=str)
    for start in range(0, len(rows), SHARD_SIZE):
        positions = np.arange(start, min(start + SHARD_SIZE, len(rows)))
        size = params.extract_cams.batch_size
        groups = np.split(positions, range(size, len(positions), size))
        read = partial(batches, paths, groups)
        # Ten crops are cut from the larger image; a map is always of the whole image at the size of the crop.
        larger = read(params.train.resize) if params.extract_cams.ten_crop else [None] * len(groups)
        parts = [
            _forward(extractor, labels[group], whole, large)
            for group, whole, large in zip(groups, read(params.train.crop), larger, strict=True)
        ]
        shard = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        yield {"image_ids": ids[positions]} | shard


@torch.no_grad()
def _forward(
    extractor: Extractor, labels: NDArray[np.int64], images: NDArray[np.uint8], larger: NDArray[np.uint8] | None
) -> Shard:
    large = None if larger is None else _to_device(larger)
    classes, maps, logits = extractor(_to_device(labels), _to_device(images), large)
    return {"classes": classes.cpu().numpy(), "maps": maps.cpu().numpy(), "logits": logits.cpu().numpy()}


def _to_device(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array).to(device())
