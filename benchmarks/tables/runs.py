"""Many results of the pipeline's stages, several at a time, without DVC and MLflow around them."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import console
from pipeline.overrides import override, value_of

#: Parameters of what results that differ in nothing else share: the prepared data and the trained network.
OF_TRAINING = ("seed", "prepare", "train")


@dataclass(frozen=True)
class Setting:
    """One result to be made.

    Attributes:
        name: what its row is found by.
        seed: of the training.
        params: text of its parameters file.
    """

    name: str
    seed: int
    params: str


@dataclass(frozen=True)
class Result:
    """Figures of one result: ``metrics.json``, ``training.json``, the rows of test in ``per_image.parquet``."""

    metrics: dict[str, Any]
    training: dict[str, Any]
    per_image: pd.DataFrame
    manifest: pd.DataFrame


def setting(name: str, params: str, overrides: Mapping[str, Any]) -> Setting:
    """A result from the text of a parameters file and values written into it."""
    text = override(params, overrides)
    return Setting(name, int(value_of(text, "seed")), text)


def run_all(settings: Iterable[Setting], jobs: int, share: int | None = None) -> Iterator[tuple[Setting, Result]]:
    """Make results, ``jobs`` at a time; those of one training follow each other in one process.

    Args:
        share: most results that share one training, where a training costs less than what follows it.
    """
    # Libraries read these when they are first imported, in the processes that are started here.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(max(1, _cores() // jobs))))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting: dict[Future[list[Result]], list[Setting]] = {
            pool.submit(_make, group): group for group in _groups(settings, share)
        }
        for future in as_completed(waiting):
            yield from zip(waiting[future], future.result(), strict=True)


def _groups(settings: Iterable[Setting], share: int | None) -> list[list[Setting]]:
    """Settings by what :data:`OF_TRAINING` names, the largest group first: it takes longest."""
    found: dict[str, list[Setting]] = {}
    for one in settings:
        key = json.dumps([value_of(one.params, section) for section in OF_TRAINING], default=str)
        found.setdefault(key, []).append(one)
    size = share or max((len(group) for group in found.values()), default=1)
    groups = [group[i : i + size] for group in found.values() for i in range(0, len(group), size)]
    return sorted(groups, key=len, reverse=True)


def _make(settings: Sequence[Setting]) -> list[Result]:
    """All results of one training, in a folder that is gone afterwards."""
    project = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="wsol-table-") as folder:
        # The key of a training is that of the code below dvc.yaml.
        shutil.copytree("pipeline", f"{folder}/pipeline", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("dvc.yaml", folder)
        shutil.copytree("data/synthetic", f"{folder}/data/synthetic")
        os.environ["WSOL_STATE"] = f"{folder}/state"
        os.chdir(folder)
        try:
            results = []
            for number, one in enumerate(settings):
                Path("params.yaml").write_text(one.params)
                _run_stages(again=number > 0)
                results.append(_result())
                test = results[-1].metrics["test"]
                console.say(f"{one.name}, seed {one.seed}: GT-known {test['gt_known_iou50']:.1f}")
            return results
        finally:
            os.chdir(project)


def _run_stages(again: bool) -> None:
    """Run all stages up to the scores; with the data and the network that are there, those after them."""
    from pipeline.params import load_params
    from pipeline.stages import evaluate, extract_cams, localize, prepare, train

    params = load_params()
    for stage in () if again else (prepare, train):
        stage.run(params)
    for stage in (extract_cams, localize, evaluate):
        stage.run(params)


def _result() -> Result:
    per_image = pd.read_parquet("metrics/per_image.parquet")
    return Result(
        json.loads(Path("metrics/metrics.json").read_text()),
        json.loads(Path("models/training.json").read_text()),
        per_image[per_image["split"] == "test"].set_index("image_id"),
        pd.read_parquet("data/prepared/manifest.parquet"),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def commit() -> str:
    """The commit that is checked out, with a ``+`` where files differ from it; empty without a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def mean_sd(values: pd.Series, digits: int = 1) -> str:
    """``mean ± standard deviation`` over seeds; the mean alone of one."""
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def replace_table(page: str, name: str, table: str) -> str:
    """A page with another table between the marks of its name."""
    marks = (f"<!-- table: {name} -->", f"<!-- end: {name} -->")
    before, rest = page.split(marks[0])
    return f"{before}{marks[0]}\n{table}\n{marks[1]}{rest.split(marks[1])[1]}"
