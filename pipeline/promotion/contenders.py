"""Tracked results as promotion compares them: what each image contributed, on which data, by which protocol."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.promotion.rule import Contender
from pipeline.tracking import recorded
from pipeline.tracking.registry import artifact_names, fetch
from pipeline.tracking.tags import DATA_HASH, KEY_SOURCE, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

#: Boxes of no image in particular, by what they are called: their overlaps in the table.
BLIND_BOXES = {"a centred Gaussian": "center_gaussian_iou", "the full image": "full_image_iou"}
#: Code that decides what an image scores, as `dvc.lock` names it; helpers for files and tables cannot change that.
SCORING_CODE = re.compile(r"pipeline/evaluation(/\w+\.py)?")


def tracked_contender(client: Any, run: Any, metrics: tuple[str, ...]) -> Contender:
    """A tracked run from its artifacts.

    Raises:
        UserError: the run lacks the table of what each image scored.
    """
    data = run.data.tags.get(DATA_HASH, "")
    with TemporaryDirectory() as folder:
        return Contender(
            run_id=run.info.run_id,
            data_hash="" if data == UNKNOWN else data,
            protocol=_protocol(client, run, Path(folder)),
            **_recorded_scores(client, run, metrics, Path(folder)),
        )


def _recorded_scores(client: Any, run: Any, metrics: tuple[str, ...], folder: Path) -> dict[str, Any]:
    name = "metrics/per_image.parquet"
    table = fetch(client, run.info.run_id, name, folder)
    with recorded.reading(run.info.run_id, name):
        return scored(table, metrics)


def scored(table: Path, metrics: tuple[str, ...]) -> dict[str, Any]:
    """``image_ids``, ``values`` and ``baselines`` of a contender from its ``per_image.parquet``.

    Args:
        metrics: the primary one, to which the baselines belong, then the guards.
    """
    import pandas as pd

    rows = pd.read_parquet(table)
    splits = {str(split): part for split, part in rows.groupby("split", sort=False)}
    values = {}
    for metric in metrics:
        split, _, name = metric.partition(".")
        if split in splits and (found := image_values(splits[split], name)) is not None:
            # Which images have boxes is part of the data's hash, without which nothing is compared.
            values[metric] = found[~np.isnan(found)]
    ids = {split: tuple(part["image_id"].astype(str)) for split, part in splits.items()}
    split, _, name = metrics[0].partition(".")
    baselines = baseline_values(splits[split], name) if metrics[0] in values else {}
    return {"image_ids": ids, "values": values, "baselines": baselines}


def image_values(rows: "pd.DataFrame", name: str) -> NDArray[np.float64] | None:
    """What each image contributes to an accuracy, ``(N,)`` in [0, 1]; NaN where the image lacks what it needs.

    None where all of them do.
    """
    top = re.search(r"top(\d)", name)
    correct = _column(rows, f"top{top[1]}_correct") if top else np.ones(len(rows))
    if name.startswith("cls_") or correct is None:
        return correct
    overlaps = _column(rows, "iou")
    return None if overlaps is None else correct * _hits(overlaps, name)


def baseline_values(rows: "pd.DataFrame", name: str) -> dict[str, NDArray[np.float64]]:
    """The same for answers that look at no image: boxes always at one place, the class always the likeliest here."""
    top = re.search(r"top(\d)", name)
    common = rows["label"].value_counts().index[: int(top[1]) if top else 0]
    correct = np.isin(rows["label"], common).astype(np.float64) if top else np.ones(len(rows))
    if name.startswith("cls_"):
        return {"the most frequent class" if len(common) == 1 else f"the {len(common)} most frequent classes": correct}
    boxes = {label: _column(rows, column) for label, column in BLIND_BOXES.items()}
    found = {label: correct * _hits(overlaps, name) for label, overlaps in boxes.items() if overlaps is not None}
    return {label: values[~np.isnan(values)] for label, values in found.items()}


def _hits(overlaps: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The overlaps themselves where the metric is their mean, else which of them reach its criterion."""
    percents = re.search(r"iou(\d\d)", name)
    if not percents:
        return overlaps
    return np.where(np.isnan(overlaps), np.nan, overlaps >= int(percents[1]) / 100)


def _column(rows: "pd.DataFrame", name: str) -> NDArray[np.float64] | None:
    """Numbers of the images, NaN where one has none; None where all have none, as in tables older than the column."""
    if name not in rows:
        return None
    found = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return None if np.isnan(found).all() else found


def recorded_params(client: Any, run: Any) -> dict[str, Any]:
    """The ``params.yaml`` a run was made with."""
    name = "provenance/params.yaml"
    with TemporaryDirectory() as folder:
        file = fetch(client, run.info.run_id, name, Path(folder))
        with recorded.reading(run.info.run_id, name):
            return recorded.parameters(file.read_text())


def _protocol(client: Any, run: Any, folder: Path) -> str:
    """Stands for the parameters of evaluate and the code that scores; the code is unknown where no lock was kept."""
    lock, code = "provenance/dvc.lock", {}
    known = run.data.tags.get(KEY_SOURCE) == "dvc.lock"
    if known and lock in artifact_names(client, run.info.run_id, "provenance"):
        file = fetch(client, run.info.run_id, lock, folder)
        code = _scoring_code(recorded.lock(run.info.run_id, file).get("evaluate", {}))
    params = {key: value for key, value in run.data.params.items() if key.startswith("evaluate.")}
    return hashlib.sha256(json.dumps([params, code], sort_keys=True).encode()).hexdigest()[:32]


def _scoring_code(entry: Mapping[str, Any]) -> dict[str, str]:
    return {dep["path"]: dep.get("md5", "") for dep in entry.get("deps", []) if SCORING_CODE.fullmatch(dep["path"])}
