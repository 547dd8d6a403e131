"""Results side by side: accuracies, paired differences on the same images, settings that differ, and the images."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import console
from pipeline.data.images import read_image
from pipeline.data.manifest import Dataset, read_dataset
from pipeline.errors import UserError
from pipeline.evaluation.comparison import difference, verdict
from pipeline.evaluation.geometry import to_protocol
from pipeline.evaluation.score_maps import FRAME
from pipeline.files import EVALUATED_SPLITS, write_bytes
from pipeline.promotion.compared import Compared, read_compared
from pipeline.report.side_by_side import Contestant, Disagreement, disagreements, render_comparison

#: Means over images that are compared, with what they are called; the IoU criteria are those a run was scored at.
METRICS: Mapping[str, str] = {
    "gt_known_iou30": "GT-known localization, IoU 0.3",
    "gt_known_iou50": "GT-known localization, IoU 0.5",
    "gt_known_iou70": "GT-known localization, IoU 0.7",
    "top1_loc_iou50": "Top-1 localization, IoU 0.5",
    "cls_top1": "Top-1 classification",
}
PAGE = Path("comparison/index.html")


def compare(names: Sequence[str], split: str = "test") -> dict[str, Any]:
    """Compare results with the first one, show it, and write a page with the images on which they differ most.

    Every accuracy is that of the threshold each result was deployed with.

    Args:
        names: of results, as :func:`pipeline.promotion.compared.read_compared` knows them.
        split: whose images count.

    Returns:
        runs, their accuracies, differences from the first with 95 % intervals in points of percent, settings that
        differ, and the page.

    Raises:
        UserError: fewer than two results, one is named twice, or one is not there or was not scored on the split.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            "name two or more different results: ids of runs, `champion`, `here`, folders with a result, or commits."
        )
    if split not in EVALUATED_SPLITS:
        raise UserError(f"there is no split {split}; name one of {', '.join(EVALUATED_SPLITS)}.")
    runs = read_compared(names, split)
    answer = {
        "split": split,
        "runs": [{"name": run.name, "run_id": run.run_id, "threshold": run.threshold} for run in runs],
        "metrics": {name: [_percent(run, name) for run in runs] for name in METRICS},
        "differences": {run.name: _differences(runs[0], run) for run in runs[1:]},
        "settings": _settings(runs),
        "page": str(PAGE),
    }
    write_bytes(PAGE, _page(answer, runs).encode())
    _show(answer, len(runs[0].image_ids))
    return answer


def _percent(run: Compared, name: str) -> float | None:
    values = run.values(name)
    return None if values is None else round(100 * float(np.nanmean(values)), 2)


def _differences(first: Compared, other: Compared) -> dict[str, Any]:
    """By metric, difference and ends of the interval, of the images with boxes in both; empty for other images."""
    if first.image_ids != other.image_ids:
        return {}
    pairs = {name: (first.values(name), other.values(name)) for name in METRICS}
    found = {name: difference(a, b) for name, (a, b) in pairs.items() if a is not None and b is not None}
    return {name: [round(d.difference, 2), round(d.low, 2), round(d.high, 2)] for name, d in found.items() if d}


def _settings(runs: Sequence[Compared]) -> dict[str, list[str | None]]:
    """Recorded parameters that are not the same everywhere, by dotted key, for each run."""
    keys = sorted(set().union(*(run.settings for run in runs)))
    values = {key: [run.settings.get(key) for run in runs] for key in keys}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def _page(answer: Mapping[str, Any], runs: Sequence[Compared]) -> str:
    dataset = _dataset_here()
    contestants = [Contestant(_short(run.name), run.threshold, run.rows, run.curve) for run in runs]
    found = disagreements(contestants)
    pictures = _pictures(dataset, answer["split"], found) if dataset else {}
    return render_comparison(
        split=answer["split"],
        images=len(runs[0].image_ids),
        contestants=contestants,
        accuracies=list(_accuracies(answer)),
        differences={_short(name): _told(differences) for name, differences in answer["differences"].items()},
        settings=answer["settings"],
        disagreements=found,
        pictures=pictures,
        classes=dataset.classes if dataset else (),
    )


def _dataset_here() -> Dataset | None:
    """The data in this folder; a comparison does without its pictures where they are elsewhere."""
    try:
        return read_dataset()
    except UserError as error:
        console.say(f"The page shows no pictures: {error}")
        return None


def _pictures(dataset: Dataset, split: str, found: Sequence[Disagreement]) -> dict[str, tuple[Any, Any]]:
    """Pixels and true boxes, in the protocol's frame, of the images that are here."""
    rows = dataset.split(split).set_index("image_id")
    pictures = {}
    for image_id in (one.image_id for one in found if one.image_id in rows.index):
        row = rows.loc[image_id]
        truth = np.array([list(box) for box in row["boxes"]], np.float64).reshape(-1, 4)
        pixels = read_image(dataset.root / row["path"], upright=dataset.upright)
        pictures[image_id] = (pixels, to_protocol(truth, row["width"].item(), row["height"].item(), FRAME).tolist())
    return pictures


def _show(answer: Mapping[str, Any], images: int) -> None:
    names = [_short(run["name"]) for run in answer["runs"]]
    title = f"{answer['split'].capitalize()}, {images:,} images, in percent at each run's own threshold"
    console.table(title, ("", *names), _accuracies(answer))
    for name, differences in answer["differences"].items():
        if not differences:
            console.warn(f"{_short(name)} was scored on other images than {names[0]}: there is no paired difference.")
            continue
        title = f"{_short(name)} against {names[0]}: points of percent, paired 95 % intervals"
        console.table(title, ("", "difference", "interval", ""), _told(differences))
    if answer["settings"]:
        rows = [(key, *("–" if value is None else value for value in values))
                for key, values in answer["settings"].items()]  # fmt: skip
        console.table("Settings that differ", ("", *names), rows)
    else:
        console.say("All recorded settings are the same.")
    console.say(f"Curves, and the images on which they differ most: {PAGE.absolute()}")


def _told(differences: Mapping[str, Sequence[float]]) -> list[tuple[str, str, str, str]]:
    return [
        (METRICS[key], f"{d:+.1f}", f"[{low:+.1f}, {high:+.1f}]", verdict(low, high))
        for key, (d, low, high) in differences.items()
    ]


def _accuracies(answer: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, label in METRICS.items():
        values = answer["metrics"][key]
        if any(value is not None for value in values):
            yield label, *("–" if value is None else f"{value:.1f}" for value in values)
    yield "threshold τ", *("–" if (t := run["threshold"]) is None else f"{t:.3g}" for run in answer["runs"])


def _short(name: str) -> str:
    """The start of MLflow's ids, which are 32 digits long."""
    return name[:8] if re.fullmatch(r"[0-9a-f]{32}", name) else name
