"""The champion scored anew on the challenger's data and by its protocol, where their recorded scores do not compare.

Its model makes maps, boxes and scores in a workspace of its own; DVC's cache keeps them, so that the same champion on
the same data is scored once.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.contenders import recorded_params, scored
from pipeline.errors import WsolError
from pipeline.files import METRICS, MODELS, PREPARED
from pipeline.params import load_params
from pipeline.promotion import Contender
from pipeline.registry import MODEL_FOLDER, download
from pipeline.repro import environment
from pipeline.workspace import create_workspace, remove_workspace

#: The champion's own; all else is the challenger's.
OWN = ("extract_cams.", "localize.", "train.crop")
STAGES = ("extract_cams", "localize", "evaluate")


def rescore(client: Any, champion: Any, challenger: Contender, metrics: tuple[str, ...]) -> Contender:
    """Score a champion's run on the data in the working folder, which is the challenger's.

    Raises:
        WsolError: a stage failed, for example because the data has other classes than the champion's model.
    """
    console.say(f"scoring the champion, run {champion.info.run_id}, on this data …")
    with _workspace(f"rescore-{champion.info.run_id}", _own_settings(recorded_params(client, champion))) as folder:
        _run(folder, "dvc", "checkout", "--quiet", str(PREPARED))
        (folder / MODELS).mkdir(exist_ok=True)
        weights = Path(download(client, champion.info.run_id, f"{MODEL_FOLDER}/model.pt", folder))
        weights.replace(folder / MODELS / "model.pt")
        for stage in STAGES:
            _run(folder, "pipeline", "repro", "--single-item", stage)
        found = scored(folder / METRICS / "per_image.parquet", metrics)
    return Contender(champion.info.run_id, challenger.data_hash, challenger.protocol, **found)


def _own_settings(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Of the keys of this checkout, those whose value is the champion's."""
    flat = dict(_flatten(recorded))
    return {key: flat[key] for key in load_params().flat() if key.startswith(OWN) and key in flat}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@contextmanager
def _workspace(name: str, settings: Mapping[str, Any]) -> Iterator[Path]:
    folder = create_workspace(name, settings)
    try:
        yield folder
    finally:
        remove_workspace(name)


def _run(folder: Path, module: str, *arguments: str) -> None:
    # Its stdout is for machines; this command has a last line of its own.
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, env=environment(), stdout=sys.stderr)
    if done.returncode:
        raise WsolError(f"`{module} {' '.join(arguments)}` ended with exit code {done.returncode} in {folder}.")
