"""The champion scored anew on the challenger's data and by its protocol, where their recorded scores do not compare.

Its model makes maps, boxes and scores in a workspace of its own; DVC's cache keeps them, so that the same champion on
the same data is scored once.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import console
from pipeline.data.manifest import read_facts
from pipeline.errors import TransientError, UserError, WsolError
from pipeline.execution.workspace import create_workspace, remove_workspace
from pipeline.files import LABELLED, METRICS, MODELS, PREPARED
from pipeline.params import load_params
from pipeline.promotion.contenders import recorded_params, scored
from pipeline.promotion.rule import Contender
from pipeline.records import adopt_model
from pipeline.system.dvc import dvc
from pipeline.system.environment import environment
from pipeline.system.locks import exclusive_lock
from pipeline.system.outcome import KILLED
from pipeline.system.processes import GRACE, run_kept
from pipeline.system.state import state_folder
from pipeline.tracking.registry import MODEL_FOLDER, fetch

#: The champion's own; all else is the challenger's.
OWN = ("extract_cams.", "localize.", "train.crop", "train.precision", "train.resize")
STAGES = ("extract_cams", "localize", "evaluate")
#: What a stage's exit code says of its failure; any other is a fault of neither user nor server.
FAILURES: Mapping[int, type[WsolError]] = {
    UserError.exit_code: UserError,
    TransientError.exit_code: TransientError,
    KILLED: TransientError,
}


def rescore(client: Any, champion: Any, challenger: Contender, metrics: tuple[str, ...]) -> Contender:
    """Score a champion's run on the data in the working folder, which is the challenger's.

    Raises:
        UserError: they do not go together, for example because the data has other classes than the champion's model.
        TransientError: a stage failed by a fault that may pass.
        WsolError: a stage failed otherwise.
    """
    console.say(f"scoring the champion, run {champion.info.run_id}, on this data …")
    with _workspace(f"rescore-{champion.info.run_id}", _own_settings(recorded_params(client, champion))) as folder:
        _bring_data(folder)
        _bring_model(client, champion.info.run_id, folder)
        adopt_model(folder / MODELS)
        _check_classes(folder)
        for stage in STAGES:
            _run_stage(folder, stage)
        found = scored(folder / METRICS / "per_image.parquet", metrics)
    return Contender(champion.info.run_id, challenger.data_hash, challenger.protocol, **found)


def _own_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Of the keys of this checkout, those whose value is the champion's."""
    values = {key: _value(tree, key) for key in load_params().flat() if key.startswith(OWN)}
    return {key: value for key, value in values.items() if value is not None}


def _value(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


@contextmanager
def _workspace(name: str, settings: Mapping[str, Any]) -> Iterator[Path]:
    """One at a time: a workspace replaces another of its name, which must be one that was left, not one in use."""
    with exclusive_lock(state_folder() / "rescore.lock", "another rescoring", inf):
        folder = create_workspace(name, settings)
        try:
            yield folder
        finally:
            remove_workspace(name)


def _bring_data(folder: Path) -> None:
    done = dvc(folder, "checkout", "--quiet", str(LABELLED), str(PREPARED))
    if done.returncode:
        raise UserError(
            f"DVC's cache does not hold {LABELLED} and {PREPARED} as dvc.lock names them: {done.stderr.strip()} Run "
            "`python -m pipeline repro` here first."
        )


def _bring_model(client: Any, run_id: str, folder: Path) -> None:
    (folder / MODELS).mkdir(exist_ok=True)
    with TemporaryDirectory() as fetched:
        shutil.copyfile(fetch(client, run_id, f"{MODEL_FOLDER}/model.pt", Path(fetched)), folder / MODELS / "model.pt")


def _check_classes(folder: Path) -> None:
    # Takes seconds to import, and a promotion seldom needs it.
    from pipeline.models.localizer import load_localizers

    _, architecture = load_localizers(folder / MODELS / "model.pt")
    classes = read_facts(folder / PREPARED).classes
    if architecture["classes"] != len(classes):
        raise UserError(f"its model knows {architecture['classes']} classes, the data has {len(classes)}.")


def _run_stage(folder: Path, stage: str) -> None:
    command = [sys.executable, "-m", "pipeline", "repro", "--single-item", stage]
    # Its stdout is for machines; this command has a last line of its own.
    code = run_kept(command, grace=2 * GRACE, cwd=folder, env=environment(), stdout=sys.stderr)
    if code:
        failure = FAILURES.get(code, WsolError)
        raise failure(f"stage {stage} of the champion ended with exit code {code}; its message is above.")
