"""Tracked results as promotion compares them: what each image contributed, on which data, by which protocol."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluation.comparison import baseline_values, image_values
from pipeline.promotion.rule import Contender
from pipeline.tracking import recorded
from pipeline.tracking.registry import artifact_names, fetch
from pipeline.tracking.tags import DATA_HASH, KEY_SOURCE, UNKNOWN

if TYPE_CHECKING:
    pass

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
