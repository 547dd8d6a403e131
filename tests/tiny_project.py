"""A repository of three small stages with the project's own code and parameters, made in a second."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: `train` fails, sleeps or does its work as the environment variable MODE says.
WORK = """\
import os, signal, sys, time
from pathlib import Path

from pipeline.system.outcome import leave_outcome, noted
from pipeline.params import load_params

mode = os.environ.get("MODE", "")
Path("interpreter").write_text(sys.executable)
if mode in ("sleep", "deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "deaf" else signal.SIG_DFL)
    with noted("train"):
        Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
        time.sleep(120)
if mode.isdigit():
    leave_outcome(int(mode), "image a.jpg is damaged")
    sys.exit(int(mode))
Path("models").mkdir(exist_ok=True)
Path("models/model.pt").write_text(str(load_params().train.lambda_))
"""
STAGES = """\
stages:
  prepare:
    desc: Copy the raw file
    cmd: mkdir -p data/prepared && cp -rL ${prepare.root} data/prepared/raw
    params: [prepare]
    deps:
      - ${prepare.root}
    outs: [data/prepared]
    meta: {retries: 0, timeout_minutes: 5}
  train:
    desc: Write the weight of the regularizer
    cmd: python work.py
    params: [train]
    deps: [data/prepared, work.py]
    outs: [models/model.pt]
    meta: {retries: 0, timeout_minutes: 5}
  track:
    desc: Note that it ran
    cmd: echo tracked >> notes
    deps: [models]
    always_changed: true
"""
#: Its results have no scores to compete by.
PROMOTE = """\
def promote(run_id, dry_run, approval):
    verdict = "refused" if approval == "Reject" else "promoted"
    print(verdict, flush=True)
    told = dict.fromkeys(("reason", "run_id", "run_name", "experiment_id", "model", "version", "champion"), "x")
    return told | {"verdict": verdict, "comparisons": []}
"""
IGNORED = "\n/models\n/interpreter\n/notes\n"


def make_project(folder: Path) -> Path:
    """A committed checkout in ``folder``; its raw data is tracked."""
    folder.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__", "tmp", "cache", "config.local")
    for name in ("pipeline", "dags", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copytree(ROOT / "data/synthetic", folder / "data/synthetic")
    for name in ("params.yaml", ".dvcignore", ".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    with (folder / ".gitignore").open("a") as stream:
        stream.write(IGNORED)
    (folder / "work.py").write_text(WORK)
    (folder / "pipeline/promotion/commands.py").write_text(PROMOTE)
    (folder / "dvc.yaml").write_text(STAGES)
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def commit(folder: Path) -> str:
    """Commit everything; returns the commit."""
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--allow-empty", "-m", "test")
    return git(folder, "rev-parse", "HEAD").strip()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def pipeline(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m pipeline`` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], cwd=folder, env=os.environ | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def start_pipeline(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The same without waiting for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments], cwd=folder, env=os.environ | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def last_json(text: str) -> object:
    return json.loads(text.strip().splitlines()[-1])
