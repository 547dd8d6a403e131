"""Read the raw data set, check every image and box, set val and gate aside, and write the manifest.

Reads prepare.root as prepare.dataset says; writes data/prepared (manifest.parquet, dataset.json, record.json). Real
images are read in place and never copied; the synthetic ones are drawn into data/prepared.
"""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import console
from pipeline.data.checks import Inspected, check_splits, inspect_images
from pipeline.data.equal_images import find_equal, warn_of_equal
from pipeline.data.manifest import SPLITS, Dataset, write_dataset
from pipeline.data.sets import cub, synthetic
from pipeline.data.source import Sample, Source
from pipeline.data.splits import set_aside
from pipeline.data.tree import files_below
from pipeline.files import PREPARED, replacing_folder
from pipeline.params import Params, PrepareParams
from pipeline.records import write_record


def run(params: Params) -> dict[str, Any]:
    """Prepare the data set; returns the number of images per split."""
    settings = params.prepare
    with replacing_folder(PREPARED) as folder:
        source = _read_source(settings, folder)
        samples = set_aside(source.samples, settings.val_fraction, settings.gate_fraction, settings.seed)
        check_splits(samples, source.classes, gate=settings.gate_fraction > 0)
        here = folder if source.root == PREPARED else source.root
        facts = inspect_images(Source(here, source.classes, samples))
        dataset = _dataset(source.root, source.classes, samples, facts)
        write_dataset(dataset, folder)
        # Images are what DVC and the content hash know; no reader hashes them.
        write_record(folder, PREPARED, None, params, only=("manifest.parquet", "dataset.json"))
    warn_of_equal(dataset.equal_images)
    if len(dataset.classes) == 1:
        console.warn(
            f"the only class is {dataset.classes[0]}: a classifier has nothing to tell apart, so its accuracy will be "
            "100 % and its maps show nothing. Add another class, or take extract_cams.method ddt, which needs none."
        )
    counts = {split: len(dataset.split(split)) for split in SPLITS}
    console.say(f"{settings.dataset}: {len(dataset.classes)} classes, images {counts}")
    return counts


def _read_source(settings: PrepareParams, folder: Path) -> Source:
    files_below(Path(settings.root))
    if settings.dataset == "cub":
        return cub.read_source(Path(settings.root))
    s = settings.synthetic
    # Images cost nothing here: those of gate are drawn besides, so that a gate takes none from training.
    gate = round(settings.gate_fraction * s.train_per_class)
    per_class = {"train": s.train_per_class, "test": s.test_per_class, "gate": gate}
    return synthetic.write_source(folder, PREPARED, s.classes, per_class, s.image_size, settings.seed)


def _dataset(root: Path, classes: tuple[str, ...], samples: list[Sample], facts: list[Inspected]) -> Dataset:
    rows = pd.DataFrame(
        {
            "image_id": sample.image_id,
            "path": sample.path,
            "split": sample.split,
            "labels": list(sample.labels),
            "width": fact.width,
            "height": fact.height,
            "boxes": [list(box) for box in fact.boxes],
            "mask": sample.mask,
            "ignore_mask": sample.ignore_mask,
            "part_mask": sample.part_mask,
        }
        for sample, fact in zip(samples, facts, strict=True)
    ).sort_values("image_id", ignore_index=True)
    content = "\n".join(sorted(f"{s.image_id} {f.digest}" for s, f in zip(samples, facts, strict=True)))
    equal = find_equal(samples, [fact.content for fact in facts])
    return Dataset(rows, classes, root, hashlib.sha256(content.encode()).hexdigest(), equal)
