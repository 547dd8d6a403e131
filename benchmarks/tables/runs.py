"""One run of the pipeline in a workspace of its own, and what came out of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline import console
from pipeline.execution.workspace import create_workspace, remove_workspace


@dataclass(frozen=True)
class Result:
    """Figures of one run: ``metrics.json``, ``training.json``, the rows of test in ``per_image.parquet``."""

    metrics: dict[str, Any]
    training: dict[str, Any]
    per_image: pd.DataFrame
    manifest: pd.DataFrame
    seconds: float


def run(name: str, overrides: Mapping[str, Any], params: str | None = None) -> Result:
    """Run all stages with these settings, on top of a parameters file's text or of ``params.yaml``.

    The workspace is gone afterwards, the row is in MLflow.
    """
    workspace = create_workspace(name, overrides, params=params)
    started = time.monotonic()
    command = [sys.executable, "-m", "pipeline", "repro"]
    subprocess.run(command, cwd=workspace, check=True, env=dict(os.environ), stdout=2)
    per_image = pd.read_parquet(workspace / "metrics/per_image.parquet")
    result = Result(
        json.loads((workspace / "metrics/metrics.json").read_text()),
        json.loads((workspace / "models/training.json").read_text()),
        per_image[per_image["split"] == "test"].set_index("image_id"),
        pd.read_parquet(workspace / "data/prepared/manifest.parquet"),
        time.monotonic() - started,
    )
    remove_workspace(name)
    console.say(f"{name}: GT-known {result.metrics['test']['gt_known_iou50']:.1f} in {result.seconds:.0f} s")
    return result


def mean_sd(values: pd.Series, digits: int = 1) -> str:
    """``mean ± standard deviation`` over seeds; the mean alone of one."""
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def replace_table(page: str, name: str, table: str) -> str:
    """A page with another table between the marks of its name."""
    marks = (f"<!-- table: {name} -->", f"<!-- end: {name} -->")
    before, rest = page.split(marks[0])
    return f"{before}{marks[0]}\n{table}\n{marks[1]}{rest.split(marks[1])[1]}"
