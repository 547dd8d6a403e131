"""Maps of the true and the predicted class for every val and test image, at the resolution of the features.

Reads data/prepared, the images, models/model.pt, extract_cams.* and train.crop; writes cams/{val,test}/NNNNN.npz
with image_ids (n,), classes (n, 2) = true, predicted, maps (n, 2, h, w) float32 and logits (n, C) float32. A new
threshold never comes back here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import console
from pipeline.data.loading import batches
from pipeline.files import CAMS, EVALUATED_SPLITS, MODELS, SHARD_SIZE, replacing_folder, write_shard
from pipeline.manifest import Dataset, read_dataset
from pipeline.models.localizer import Localizer, device, load_localizer
from pipeline.params import ExtractCamsParams, Params
from pipeline.wsol.cam import class_activation_maps

Shard = dict[str, NDArray[Any]]


def run(params: Params) -> dict[str, Any]:
    """Extract the maps; returns the number of images per split."""
    dataset = read_dataset()
    network, _ = load_localizer(MODELS / "model.pt")
    network = network.to(device())
    counts = {}
    with replacing_folder(CAMS) as folder:
        for split in EVALUATED_SPLITS:
            rows = dataset.split(split)
            counts[split] = len(rows)
            (folder / split).mkdir()
            shards = _shards(dataset, split, network, params.extract_cams, params.train.crop)
            total = -(-len(rows) // SHARD_SIZE)
            for number, shard in enumerate(console.progress(shards, total, f"maps of {split}", "shards")):
                write_shard(folder / split, number, shard)
    return counts


def _shards(
    dataset: Dataset, split: str, network: Localizer, settings: ExtractCamsParams, size: int
) -> Iterator[Shard]:
    rows = dataset.split(split)
    paths = [dataset.root / Path(path) for path in rows["path"]]
    labels = np.array([labels[0] for labels in rows["labels"]], np.int64)
    ids = rows["image_id"].to_numpy(dtype=str)
    for start in range(0, len(rows), SHARD_SIZE):
        positions = np.arange(start, min(start + SHARD_SIZE, len(rows)))
        groups = np.split(positions, range(settings.batch_size, len(positions), settings.batch_size))
        parts = [
            _forward(network, images, labels[group], settings.clamp_negative_weights)
            for group, images in zip(groups, batches(paths, groups, size), strict=True)
        ]
        shard = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        yield {"image_ids": ids[positions]} | shard


@torch.inference_mode()
def _forward(network: Localizer, images: NDArray[np.uint8], labels: NDArray[np.int64], clamp: bool) -> Shard:
    features = network.features(torch.from_numpy(images).to(device()))
    logits = network.classify(features)
    classes = torch.stack([torch.from_numpy(labels).to(logits.device), logits.argmax(dim=1)], dim=1)
    maps = class_activation_maps(features, network.head.weight, classes, clamp)
    return {"classes": classes.cpu().numpy(), "maps": maps.cpu().numpy(), "logits": logits.cpu().numpy()}
