"""The whole project in a folder of its own, with a data set so small that all stages run in seconds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline.execution.workspace import KERNELS

ROOT = Path(__file__).parents[1]
STAGES = ["prepare", "train", "extract_cams", "localize", "evaluate", "report", "track"]
#: Python that makes Airflow's home in the state folder, for the checkout that is the current folder.
SET_UP_AIRFLOW = "from pathlib import Path; from pipeline.local.airflow_home import set_up; set_up(Path.cwd())"
#: Two classes, one epoch of two steps.
SMALL: dict[str, Any] = {
    "prepare.val_fraction": 0.25,
    "prepare.synthetic.classes": 2,
    "prepare.synthetic.train_per_class": 8,
    "prepare.synthetic.test_per_class": 3,
    "prepare.synthetic.image_size": 48,
    "train.resize": 40,
    "train.crop": 32,
    "train.epochs": 1,
    "train.batch_size": 4,
    "evaluate.interval": 0.01,
}


def make_project(folder: Path, settings: dict[str, Any] | None = None) -> Path:
    """A checkout of the files on disk, committed, with its own cache and state."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    for name in listed.stdout.split("\0")[:-1]:
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for kernel in ROOT.glob(KERNELS):
        (folder / kernel.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy2(kernel, folder / kernel.relative_to(ROOT))
    (folder / "dvc.lock").unlink(missing_ok=True)
    edit(folder, SMALL | (settings or {}))
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "start"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *command], cwd=folder, check=True)
    return folder


def edit(folder: Path, settings: dict[str, Any]) -> None:
    """Set dotted keys of params.yaml."""
    path = folder / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    for key, value in settings.items():
        *groups, name = key.split(".")
        group = tree
        for part in groups:
            group = group[part]
        group[name] = value
    path.write_text(yaml.safe_dump(tree))


def environment(**extra: str) -> dict[str, str]:
    """Without anything that would lead a run out of its folder; one thread, so that results repeat."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WSOL_", "MLFLOW_", "AIRFLOW", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | extra


def pipeline(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m pipeline …`` in a project."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder, env=environment(**extra), capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def executed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The stages that DVC ran, in order; none that it took from its cache."""
    return re.findall(r"Running stage '(\w+)'", done.stdout + done.stderr)
