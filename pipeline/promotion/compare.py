"""Tracked runs side by side: accuracies, paired differences on the same images, and the settings that differ."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import console
from pipeline.errors import UserError
from pipeline.evaluation.comparison import difference, image_values, verdict
from pipeline.files import EVALUATED_SPLITS
from pipeline.params import load_params
from pipeline.tracking import recorded, server
from pipeline.tracking.provenance import read_result
from pipeline.tracking.registry import Registry, fetch, find_run, get_run

#: Means over images that are compared, with what they are called; the IoU criteria are those a run was scored at.
METRICS: Mapping[str, str] = {
    "gt_known_iou30": "GT-known localization, IoU 0.3",
    "gt_known_iou50": "GT-known localization, IoU 0.5",
    "gt_known_iou70": "GT-known localization, IoU 0.7",
    "top1_loc_iou50": "Top-1 localization, IoU 0.5",
    "cls_top1": "Top-1 classification",
}
CHAMPION, HERE = "champion", "here"


@dataclass(frozen=True)
class Compared:
    """One run of a comparison.

    Attributes:
        name: as the user gave it.
        run_id: of MLflow.
        params: by dotted key, as they were recorded.
        threshold: that its boxes were drawn at; None where it is not recorded.
        image_ids: of the split, sorted.
        values: by metric, what each of these images contributes, ``(N,)`` in [0, 1].
    """

    name: str
    run_id: str
    params: Mapping[str, str]
    threshold: float | None
    image_ids: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]


def compare(names: Sequence[str], split: str = "test") -> dict[str, Any]:
    """Compare runs with the first one, and show it.

    Every accuracy is that of the threshold each run was deployed with.

    Args:
        names: ids of tracked runs, ``champion``, or ``here`` for the result in this folder.
        split: whose images count.

    Returns:
        runs, their accuracies, differences from the first with 95 % intervals in points of percent, and settings that
        differ.

    Raises:
        UserError: fewer than two runs, one is named twice, or one is not there or was not scored on the split.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError("name two or more different runs: their ids, `champion`, or `here`.")
    if split not in EVALUATED_SPLITS:
        raise UserError(f"there is no split {split}; name one of {', '.join(EVALUATED_SPLITS)}.")
    action = "compare runs"
    with server.clear_errors(action, "python -m pipeline compare"), server.patience(*server.TRACK_PATIENCE):
        client = server.client()
        runs = [_read(client, name, split) for name in names]
    answer = {
        "split": split,
        "runs": [{"name": run.name, "run_id": run.run_id, "threshold": run.threshold} for run in runs],
        "metrics": {name: [_percent(run, name) for run in runs] for name in METRICS},
        "differences": {run.name: _differences(runs[0], run) for run in runs[1:]},
        "settings": _settings(runs),
    }
    _show(answer, len(runs[0].image_ids))
    return answer


def _read(client: Any, name: str, split: str) -> Compared:
    run = _find(client, name)
    with TemporaryDirectory() as folder:
        artifact = "metrics/per_image.parquet"
        table = fetch(client, run.info.run_id, artifact, Path(folder))
        with recorded.reading(run.info.run_id, artifact):
            ids, values = _scores(table, split)
    if not ids:
        raise UserError(f"{name} was not scored on {split}.")
    return Compared(name, run.info.run_id, run.data.params, run.data.metrics.get("threshold"), ids, values)


def _find(client: Any, name: str) -> Any:
    if name == HERE:
        result = read_result()
        run = find_run(client, load_params().track.experiment, result.run_key, result.training.train_key)
        if run is None:
            raise UserError("the result in this folder has no MLflow run. Run `python -m pipeline track` first.")
        return run
    if name == CHAMPION:
        registry = Registry(client, load_params().track.experiment)
        version = registry.aliases().get(CHAMPION)
        if version is None:
            raise UserError(f"model {registry.name} has no champion yet; `python -m pipeline promote` makes one.")
        return registry.run_of(version)
    return get_run(client, name)


def _scores(table: Path, split: str) -> tuple[tuple[str, ...], dict[str, NDArray[np.float64]]]:
    import pandas as pd

    rows: pd.DataFrame = pd.read_parquet(table)
    rows = rows[rows["split"] == split].sort_values("image_id")
    found = {name: image_values(rows, name) for name in METRICS}
    return tuple(rows["image_id"].astype(str)), {name: values for name, values in found.items() if values is not None}


def _percent(run: Compared, name: str) -> float | None:
    return round(100 * float(np.nanmean(run.values[name])), 2) if name in run.values else None


def _differences(first: Compared, other: Compared) -> dict[str, Any]:
    """By metric, difference and ends of the interval, of the images with boxes in both; empty for other images."""
    if first.image_ids != other.image_ids:
        return {}
    measured = [name for name in METRICS if name in first.values and name in other.values]
    found = {name: difference(first.values[name], other.values[name]) for name in measured}
    return {name: [round(d.difference, 2), round(d.low, 2), round(d.high, 2)] for name, d in found.items() if d}


def _settings(runs: Sequence[Compared]) -> dict[str, list[str | None]]:
    """Recorded parameters that are not the same everywhere, by dotted key, for each run."""
    keys = sorted(set().union(*(run.params for run in runs)))
    values = {key: [run.params.get(key) for run in runs] for key in keys}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def _show(answer: Mapping[str, Any], images: int) -> None:
    names = [_short(run["name"]) for run in answer["runs"]]
    title = f"{answer['split'].capitalize()}, {images:,} images, in percent at each run's own threshold"
    console.table(title, ("", *names), _accuracies(answer))
    first = names[0]
    for name, differences in answer["differences"].items():
        if not differences:
            console.warn(f"{_short(name)} was scored on other images than {first}: there is no paired difference.")
            continue
        rows = [(METRICS[key], f"{d:+.1f}", f"[{low:+.1f}, {high:+.1f}]", verdict(low, high))
                for key, (d, low, high) in differences.items()]  # fmt: skip
        title = f"{_short(name)} against {first}: points of percent, paired 95 % intervals"
        console.table(title, ("", "difference", "interval", ""), rows)
    if answer["settings"]:
        rows = [(key, *("–" if value is None else value for value in values))
                for key, values in answer["settings"].items()]  # fmt: skip
        console.table("Settings that differ", ("", *names), rows)
    else:
        console.say("All recorded settings are the same.")


def _accuracies(answer: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, label in METRICS.items():
        values = answer["metrics"][key]
        if any(value is not None for value in values):
            yield label, *("–" if value is None else f"{value:.1f}" for value in values)
    yield "threshold τ", *("–" if (t := run["threshold"]) is None else f"{t:.3g}" for run in answer["runs"])


def _short(name: str) -> str:
    """The start of MLflow's ids, which are 32 digits long."""
    return name[:8] if re.fullmatch(r"[0-9a-f]{32}", name) else name
