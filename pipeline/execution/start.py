"""From a folder of images to parameters that suit it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import console
from pipeline.data.checks import Inspected, inspect_images
from pipeline.data.sets import find_dataset
from pipeline.data.source import NOT_READ, Problem, Source
from pipeline.data.splits import set_aside
from pipeline.data.tree import NAMED
from pipeline.errors import DataError
from pipeline.execution.preflight import refuse_outputs_inside
from pipeline.params import DATASETS, PrepareParams, parse_params
from pipeline.presets import preset_text, write_params

PRESET = "photos"
#: Known by their own files; ``folder`` takes any other folder.
PUBLISHED = tuple(name for name in DATASETS if name not in ("folder", "synthetic"))
#: Images that training looks at in all, and bounds of its epochs: a classifier on features that stay as they are needs
#: few passes, and more of them where there are few images.
SHOWN = 3000
EPOCHS = (3, 10)
#: Training images of a class from which a share of them can decide on promotion rather than train.
ENOUGH_FOR_GATE = 40


@dataclass(frozen=True)
class Found:
    """What lies in a folder: its images that can be used, with their splits, and what cannot."""

    dataset: str
    source: Source
    images: list[Inspected]
    problems: list[Problem]

    def count(self, split: str) -> int:
        """Images of a split."""
        return sum(one.sample.split == split for one in self.images)

    def boxed(self, *splits: str) -> int:
        """Images of some splits that have boxes."""
        return sum(bool(one.boxes) for one in self.images if one.sample.split in splits)


def start(folder: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a folder of images holds, and write ``params.yaml`` for it; the former file is kept.

    Args:
        overrides: values by dotted key in place of those that would be chosen.

    Returns:
        Data set, images per split, classes and the number of problems.

    Raises:
        DataError: the folder is not a data set, says why.
        ParamsError: a value does not fit.
    """
    if not folder.is_dir():
        raise DataError(f"{folder.absolute()} is not a folder; name the one that holds your images.")
    refuse_outputs_inside(folder, Path.cwd())
    dataset = _which(folder)
    chosen = {"prepare.dataset": dataset, "prepare.root": str(folder), **overrides}
    found = _look(dataset, _settings(chosen))
    chosen = {"prepare.dataset": dataset, "prepare.root": str(folder), **_suited(found, folder), **overrides}
    found = _split(found, _settings(chosen))
    _show(found)
    write_params(preset_text(PRESET, chosen))
    console.say("params.yaml is written for this folder. To train, localize and see the result: make run")
    splits = {split: found.count(split) for split in ("train", "val", "gate", "test")}
    return {"dataset": dataset, "classes": len(found.source.classes), **splits, "problems": len(found.problems)}


def _settings(values: Mapping[str, Any]) -> PrepareParams:
    return parse_params(preset_text(PRESET, values), PRESET).prepare


def _look(dataset: str, settings: PrepareParams) -> Found:
    """Read everything that ``prepare`` would read."""
    source = find_dataset(dataset).read_source(settings, Path())
    return _split(Found(dataset, source, *inspect_images(source, strict=False)), settings)


def _split(found: Found, settings: PrepareParams) -> Found:
    """The same images in the splits that ``prepare`` would put them into."""
    shares = settings.test_fraction, settings.val_fraction, settings.gate_fraction
    splits = {s.image_id: s.split for s in set_aside(found.source.samples, *shares, settings.seed)}
    images = [replace(o, sample=replace(o.sample, split=splits[o.sample.image_id])) for o in found.images]
    return replace(found, images=images)


def _which(folder: Path) -> str:
    for name in PUBLISHED:
        try:
            find_dataset(name).check_layout(folder)
        except DataError:
            continue
        return name
    return "folder"


def _suited(found: Found, folder: Path) -> dict[str, Any]:
    """Settings that follow from what was found."""
    train = found.count("train") + found.count("gate")
    fewest = min(
        Counter(
            label for one in found.images if one.sample.split in ("train", "gate") for label in one.sample.labels
        ).values()
    )
    suited: dict[str, Any] = {
        "train.epochs": int(np.clip(round(SHOWN / max(train, 1)), *EPOCHS)),
        "prepare.strict": not [problem for problem in found.problems if problem.consequence != NOT_READ],
        "track.experiment": _experiment(folder),
    }
    if fewest < ENOUGH_FOR_GATE:
        suited["prepare.gate_fraction"] = 0.0
    if found.source.several_labels:
        # The loss is a mean over the classes, and its gradient the smaller the more there are; and none is about Top-1.
        suited |= {"train.lr": 0.1, "promote.metric": "gate.gt_known_iou50", "promote.guards": ["gate.gt_known_iou30"]}
    elif not found.boxed("train", "gate"):
        suited |= {"promote.metric": "gate.cls_top1", "promote.guards": []}
    return suited


def _experiment(folder: Path) -> str:
    """The folder's name in characters that an experiment may have."""
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "_.- " else "_" for c in folder.resolve().name)
    return name.strip() or "photos"


def _show(found: Found) -> None:
    classes = found.source.classes
    console.say(f"{len(found.images):,} images of {len(classes)} classes (read as data set {found.dataset!r})")
    console.table("Images", ("class", "train", "val", "gate", "test", "with boxes"), _rows(found))
    sizes = np.array([(one.width, one.height) for one in found.images])
    if len(sizes):
        (w0, h0), (w1, h1), (w, h) = sizes.min(axis=0), sizes.max(axis=0), np.median(sizes, axis=0)
        console.say(f"Sizes: {w0}×{h0} to {w1}×{h1} pixels, the median is {w:.0f}×{h:.0f}.")
    console.say(_on_boxes(found))
    for problem in found.problems[:NAMED]:
        console.warn(f"{problem} ({problem.consequence})")
    if len(found.problems) > NAMED:
        console.warn(f"… and {len(found.problems) - NAMED} more; prepare lists all in data/prepared/problems.csv")


def _rows(found: Found) -> Iterator[tuple[str, ...]]:
    counts = Counter((label, one.sample.split) for one in found.images for label in one.sample.labels)
    boxed = Counter(label for one in found.images for label in set(one.box_labels or one.sample.labels) if one.boxes)
    for label, name in list(enumerate(found.source.classes))[:NAMED]:
        yield name, *(str(counts[label, split]) for split in ("train", "val", "gate", "test")), str(boxed[label])
    if len(found.source.classes) > NAMED:
        yield (f"… {len(found.source.classes) - NAMED} more",)
    totals = (str(found.count(split)) for split in ("train", "val", "gate", "test"))
    yield "all", *totals, str(sum(bool(one.boxes) for one in found.images))


def _on_boxes(found: Found) -> str:
    val, test = found.boxed("val"), found.boxed("test")
    chosen = (
        f"The threshold will be chosen on the {val} images of val that have boxes."
        if val
        else "No image of val has boxes: the threshold will be that of the method's paper."
    )
    measured = (
        f"Localization will be measured on {test} images of test."
        if test
        else "No image of test has boxes: localization will be drawn, and not measured."
    )
    return f"{chosen} {measured}"
