"""Read the raw data set, check every image and box, set val and gate aside, and write the manifest.

Reads prepare.root as prepare.dataset says; writes data/labelled (images and labels: manifest.parquet, dataset.json,
record.json) and data/prepared (the same with boxes and masks, and problems.csv): who trains reads the former alone, so
that new boxes train nothing again. Real images are read in place and never copied; the synthetic ones are drawn into
data/labelled.
"""

import hashlib
import textwrap
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipeline import console
from pipeline.data.checks import Inspected, check_splits, inspect_images
from pipeline.data.equal_images import find_equal, warn_of_equal
from pipeline.data.manifest import SPLITS, Dataset, labels_only, write_dataset
from pipeline.data.sets import find_dataset
from pipeline.data.source import Problem, Sample, Source
from pipeline.data.splits import set_aside
from pipeline.data.tree import files_below
from pipeline.files import LABELLED, PREPARED, replacing_folder, write_csv
from pipeline.params import Params, PrepareParams
from pipeline.records import Inputs, write_record


def run(params: Params) -> dict[str, Any]:
    """Prepare the data set; returns the number of images per split."""
    settings = params.prepare
    with replacing_folder(LABELLED) as folder:
        files_below(Path(settings.root))
        source = find_dataset(settings.dataset).read_source(settings, folder)
        if source.several_labels:
            params.refuse_several_labels()
        _warn_of_a_part(source)
        samples = _split(source.samples, settings)
        check_splits(samples, source.classes, gate=settings.gate_fraction > 0)
        here = folder if source.root == LABELLED else source.root
        usable, problems = inspect_images(replace(source, root=here, samples=samples), strict=settings.strict)
        check_splits([one.sample for one in usable], source.classes, gate=settings.gate_fraction > 0)
        dataset = _dataset(source, usable)
        _write(labels_only(dataset, _content_hash(usable, "content")), folder, LABELLED, None, params)
    with replacing_folder(PREPARED) as folder:
        _write_problems(folder / "problems.csv", problems)
        _write(dataset, folder, PREPARED, Inputs(LABELLED), params)
    _warn_of_problems(problems)
    warn_of_equal(dataset.equal_images)
    if len(dataset.classes) == 1:
        console.warn(
            f"the only class is {dataset.classes[0]}: a classifier has nothing to tell apart, so its accuracy will be "
            "100 % and its maps show nothing. Add another class, or take extract_cams.method ddt, which needs none."
        )
    counts = {split: len(dataset.split(split)) for split in SPLITS}
    console.say(f"{settings.dataset}: {len(dataset.classes)} classes, images {counts}")
    return counts


def _write(dataset: Dataset, folder: Path, home: Path, inputs: Inputs | None, params: Params) -> None:
    write_dataset(dataset, folder)
    # Images are what DVC and the content hash know; no reader hashes them.
    write_record(folder, home, inputs, params, only=("manifest.parquet", "dataset.json"))


def _warn_of_a_part(source: Source) -> None:
    counts = source.listed or Counter(sample.split for sample in source.samples)
    others = [
        f"{counts.get(name, 0):,} of {of:,} in {name}"
        for name, of in source.published.items()
        if counts.get(name, 0) != of
    ]
    if others:
        console.warn(f"this is not the whole data set as it was published, images: {', '.join(others)}")


def _split(samples: list[Sample], settings: PrepareParams) -> list[Sample]:
    shares = settings.test_fraction, settings.val_fraction, settings.gate_fraction
    return set_aside(samples, *shares, settings.seed)


def _write_problems(path: Path, problems: list[Problem]) -> None:
    write_csv(path, pd.DataFrame(problems, columns=["path", "reason", "consequence"]))


def _warn_of_problems(problems: list[Problem]) -> None:
    """Nothing is left out silently."""
    for consequence, count in Counter(problem.consequence for problem in problems).items():
        named = "; ".join(str(problem) for problem in problems if problem.consequence == consequence)
        named = textwrap.shorten(named, 300, placeholder=" …")
        console.warn(f"{count} × {consequence}: {named} (all in {PREPARED / 'problems.csv'})")


def _dataset(source: Source, usable: list[Inspected]) -> Dataset:
    rows = pd.DataFrame(
        {
            "image_id": one.sample.image_id,
            "path": one.sample.path,
            "split": one.sample.split,
            "labels": list(one.sample.labels),
            "width": one.width,
            "height": one.height,
            "boxes": [list(box) for box in one.boxes],
            "masks": list(one.sample.masks.files),
            "ignore_mask": one.sample.masks.ignored,
            "part_mask": one.sample.masks.part,
            "box_labels": list(one.box_labels),
            "uncertain": list(one.sample.uncertain),
        }
        for one in usable
    ).sort_values("image_id", ignore_index=True)
    equal = find_equal([one.sample for one in usable], [one.content for one in usable])
    content_hash = _content_hash(usable, "digest")
    return Dataset(
        rows, source.classes, source.root, content_hash, equal, source.upright, source.mask_values,
        source.several_labels,
    )  # fmt: skip


def _content_hash(images: list[Inspected], digest: Literal["content", "digest"]) -> str:
    """One hash of all image files, or of all images with their boxes and masks."""
    lines = sorted(f"{one.sample.image_id} {getattr(one, digest)}" for one in images)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
