"""Tracked results as promotion compares them: what each image contributed, on which data, by which protocol."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.promotion import Contender
from pipeline.registry import download

if TYPE_CHECKING:
    import pandas as pd

DATA_HASH = "wsol.data_hash"
#: Code that decides what an image scores, as `dvc.lock` names it; helpers for files and tables cannot change that.
SCORING_CODE = re.compile(r"pipeline/(wsol/\w+|evaluation)\.py")


def tracked_contender(client: Any, run: Any, metrics: tuple[str, ...]) -> Contender:
    """A tracked run from its artifacts.

    Raises:
        UserError: the run lacks the table of what each image scored.
    """
    with TemporaryDirectory() as folder:
        return Contender(
            run_id=run.info.run_id,
            data_hash=run.data.tags.get(DATA_HASH, "unknown"),
            protocol=_protocol(client, run, folder),
            **scored(Path(_artifact(client, run, "metrics/per_image.parquet", folder)), metrics),
        )


def scored(table: Path, metrics: tuple[str, ...]) -> dict[str, Any]:
    """``image_ids`` and ``values`` of a contender from its ``per_image.parquet``."""
    import pandas as pd

    rows = pd.read_parquet(table)
    splits = {str(split): part for split, part in rows.groupby("split", sort=False)}
    values = {}
    for metric in metrics:
        split, _, name = metric.partition(".")
        if split in splits and (found := image_values(splits[split], name)) is not None:
            values[metric] = found
    ids = {split: tuple(part["image_id"].astype(str)) for split, part in splits.items()}
    return {"image_ids": ids, "values": values}


def image_values(rows: "pd.DataFrame", name: str) -> NDArray[np.float64] | None:
    """What each image contributes to an accuracy, ``(N,)`` in [0, 1]; None where the images have no boxes."""
    top, percents = (re.search(pattern, name) for pattern in (r"top(\d)", r"iou(\d\d)"))
    correct = _class_hits(rows, int(top[1])) if top else np.ones(len(rows))
    if name.startswith("cls_"):
        return correct
    overlaps = rows["iou"].to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(overlaps).any():
        return None
    return correct * (overlaps >= int(percents[1]) / 100 if percents else overlaps)


def _class_hits(rows: "pd.DataFrame", top: int) -> NDArray[np.float64]:
    pairs = zip(rows["top5"], rows["label"], strict=True)
    return np.array([label in list(classes)[:top] for classes, label in pairs], dtype=np.float64)


def recorded_params(client: Any, run: Any) -> dict[str, Any]:
    """The ``params.yaml`` a run was made with."""
    with TemporaryDirectory() as folder:
        return dict(yaml.safe_load(Path(_artifact(client, run, "provenance/params.yaml", folder)).read_text()))


def _protocol(client: Any, run: Any, folder: str) -> str:
    """Stands for the parameters of evaluate and the code that scores; the code is unknown where no lock was kept."""
    names = {item.path for item in client.list_artifacts(run.info.run_id, "provenance")}
    code = {}
    if "provenance/dvc.lock" in names and run.data.tags.get("wsol.key_source") == "dvc.lock":
        lock = yaml.safe_load(Path(_artifact(client, run, "provenance/dvc.lock", folder)).read_text())
        code = _scoring_code(lock["stages"].get("evaluate", {}))
    params = {key: value for key, value in run.data.params.items() if key.startswith("evaluate.")}
    return hashlib.sha256(json.dumps([params, code], sort_keys=True).encode()).hexdigest()[:32]


def _scoring_code(entry: Mapping[str, Any]) -> dict[str, str]:
    return {dep["path"]: dep["md5"] for dep in entry.get("deps", []) if SCORING_CODE.fullmatch(dep["path"])}


def _artifact(client: Any, run: Any, path: str, folder: str) -> str:
    folder_name = path.rpartition("/")[0]
    if path not in {item.path for item in client.list_artifacts(run.info.run_id, folder_name)}:
        raise UserError(
            f"run {run.info.run_id} has no artifact {path}; run `python -m pipeline track` where its result lies, "
            "then again."
        )
    return download(client, run.info.run_id, path, folder)
