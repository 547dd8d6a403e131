"""Results to compare, wherever they are: in this folder or another, in a commit, or recorded in MLflow."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.evaluation.comparison import image_values
from pipeline.files import METRICS, content, reading
from pipeline.params import load_params
from pipeline.records import Inputs
from pipeline.results import read_metrics, read_threshold_curve
from pipeline.schemas import PER_IMAGE, check_numbers, parse_table
from pipeline.system.dvc import dvc
from pipeline.system.git import GitError, commit_of
from pipeline.tracking import recorded, server
from pipeline.tracking.registry import Registry, fetch, get_run

if TYPE_CHECKING:
    import pandas as pd

CHAMPION, HERE = "champion", "here"
PER_IMAGE_FILE, CURVE_FILE = "per_image.parquet", "threshold_curve.csv"
#: Groups of parameters that no result depends on.
WITHOUT_EFFECT = ("track.", "promote.")


@dataclass(frozen=True)
class Compared:
    """One result of a comparison.

    Attributes:
        name: as the user gave it.
        run_id: of MLflow; empty where the result was read from files.
        settings: by dotted key, as texts.
        threshold: that its boxes were drawn at; None where it is not recorded.
        rows: ``per_image.parquet`` of the split, sorted by image.
        curve: ``threshold_curve.csv``.
    """

    name: str
    run_id: str
    settings: Mapping[str, str]
    threshold: float | None
    rows: "pd.DataFrame"
    curve: "pd.DataFrame"

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """The images of the split, sorted."""
        return tuple(self.rows["image_id"].astype(str))

    def values(self, metric: str) -> NDArray[np.float64] | None:
        """What each of the images contributes to an accuracy; None where it was not measured."""
        return image_values(self.rows, metric)


def read_compared(names: Sequence[str], split: str) -> list[Compared]:
    """The results of that name.

    Args:
        names: ``here``, ``champion``, a folder with a result, a commit of this repository whose result DVC has, or the
            id of a tracked run.
        split: whose images count.

    Raises:
        UserError: there is no such result, or it was not scored on the split.
        TransientError: the tracking server does not answer.
    """
    found = [_of_files(name, split) or _tracked(name, split) for name in names]
    for one in found:
        if not one.image_ids:
            raise UserError(f"{one.name} was not scored on {split}.")
    return found


def _of_files(name: str, split: str) -> Compared | None:
    """A result that needs no server; None where the name is none of these."""
    if name == HERE:
        return _in_folder(name, Path(), split)
    if name == CHAMPION or (recorded.RUN_ID.fullmatch(name) and re.fullmatch(r"[0-9a-f]{32}", name)):
        return None
    if (Path(name) / METRICS).is_dir():
        return _in_folder(name, Path(name), split)
    try:
        commit = commit_of(Path(), name)
    except GitError:
        return None
    with TemporaryDirectory() as folder:
        _get(name, commit, Path(folder))
        return _in_folder(name, Path(folder), split)


def _get(name: str, commit: str, folder: Path) -> None:
    """Bring the scores of a commit into a folder, from DVC's cache or its remote."""
    done = dvc(Path(), "get", "--quiet", f"--rev={commit}", ".", str(METRICS), f"--out={folder / METRICS}")
    if done.returncode:
        raise UserError(
            f"DVC cannot bring {METRICS} of {name} ({commit[:12]}): {done.stderr.strip() or 'it says nothing'}. "
            "Is there a result in that commit's dvc.lock, and was it pushed?"
        )


def _in_folder(name: str, home: Path, split: str) -> Compared:
    folder = home / METRICS
    inputs = Inputs(folder)
    with reading(folder / PER_IMAGE_FILE):
        rows = parse_table(inputs.read(folder / PER_IMAGE_FILE), PER_IMAGE)
    metrics = read_metrics(inputs, folder)
    settings = {key: str(value) for key, value in inputs.settings().items()}
    return Compared(
        name, "", settings, metrics["threshold"], _of_split(rows, split), read_threshold_curve(inputs, folder)
    )


def _tracked(name: str, split: str) -> Compared:
    import pandas as pd

    with server.clear_errors("compare runs", "python -m pipeline compare"), server.patience(*server.TRACK_PATIENCE):
        client = server.client()
        run = _find(client, name)
        with TemporaryDirectory() as folder:
            files = {
                file: fetch(client, run.info.run_id, f"{METRICS}/{file}", Path(folder))
                for file in (PER_IMAGE_FILE, CURVE_FILE)
            }
            with recorded.reading(run.info.run_id, f"{METRICS}/{PER_IMAGE_FILE}"):
                rows = parse_table(content(files[PER_IMAGE_FILE]), PER_IMAGE)
            with recorded.reading(run.info.run_id, f"{METRICS}/{CURVE_FILE}"):
                curve = check_numbers(pd.read_csv(files[CURVE_FILE]), ("threshold",))
    settings = {key: value for key, value in run.data.params.items() if not key.startswith(WITHOUT_EFFECT)}
    threshold = run.data.metrics.get("threshold")
    return Compared(name, run.info.run_id, settings, threshold, _of_split(rows, split), curve)


def _find(client: Any, name: str) -> Any:
    if name == CHAMPION:
        registry = Registry(client, load_params().track.experiment)
        version = registry.aliases().get(CHAMPION)
        if version is None:
            raise UserError(f"model {registry.name} has no champion yet; `python -m pipeline promote` makes one.")
        return registry.run_of(version)
    return get_run(client, name)


def _of_split(rows: "pd.DataFrame", split: str) -> "pd.DataFrame":
    return rows[rows["split"] == split].sort_values("image_id").reset_index(drop=True)
