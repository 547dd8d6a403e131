"""What can be checked before DVC starts. DVC removes a stage's outputs before it runs it, so the earlier the better."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from pipeline import console
from pipeline.data.sets import find_dataset
from pipeline.data.tree import files_below
from pipeline.errors import DataError, UserError
from pipeline.evaluation.refine import MISSING, is_installed
from pipeline.files import (
    BOXES,
    CAMS,
    LABELLED,
    METRICS,
    MODELS,
    PREPARED,
    REPORT,
    file_hash,
    reaching,
    read_json,
    weights_file,
)
from pipeline.params import Params, TrainParams
from pipeline.schemas import DatasetFacts, Facts
from pipeline.system.git import GitError, head, toplevel
from pipeline.system.state import state_folder

OUTPUTS = (LABELLED, PREPARED, MODELS, CAMS, BOXES, METRICS, REPORT)


class _Known(Facts):
    """Of ``models/training.json``, also where an earlier version wrote it: content by path."""

    weights: dict[str, str] = Field(default_factory=dict)


def check_inputs(params: Params, *others: Params) -> None:
    """Check the inputs that parameters name, and that every output can be written.

    Args:
        others: of further trials, with the same raw data; what several agree in is checked once.

    Raises:
        DataError: the raw data is missing, has another layout, or holds what DVC cannot follow.
        UserError: the folder is part of a larger repository or has no commit, pretrained weights are missing, damaged,
            of another network or have changed, the backbone lacks layers that are to be read or has a smaller map than
            what is to be dropped, or an output folder cannot be written.
    """
    check_place(Path.cwd(), state_folder())
    check_repository(Path.cwd())
    check_writable(state_folder())
    check_data(params, others)
    networks = {_network(each): each for each in (params, *others)}
    for each in console.progress(networks.values(), len(networks), "check", "networks"):
        _check_network(each)
    if any(each.localize.refine == "crf" for each in (params, *others)) and not is_installed():
        raise UserError(f"localize.refine: {MISSING}")
    for folder in OUTPUTS:
        check_writable(folder)


def _network(params: Params) -> tuple[object, ...]:
    """All that :func:`_check_network` looks at."""
    train, maps = params.train, params.extract_cams
    dropped = (train.crop, train.rdap_size) if train.erasing == "rdap" else ()
    read = () if maps.method == "cam" else (maps.method, *maps.ddt_layers)
    return train.pretrained, train.backbone, train.stride, dropped, read


def _check_network(params: Params) -> None:
    if isinstance(params.train.pretrained, str):
        _check_weights(weights_file(params.train.pretrained), params.train)
    # Class activation maps fit every backbone: the common case does without torch, which takes seconds to import.
    if params.extract_cams.method != "cam" or params.train.erasing == "rdap":
        _check_backbone(params)


def check_place(*folders: Path) -> None:
    """Refuse paths that a tool would take for something else.

    Raises:
        UserError: a path holds characters without a shape or braces, or the interpreter's cannot stand in PATH.
    """
    for folder in folders:
        # DVC takes what stands in braces for the name of a value.
        if odd := [character for character in str(folder) if not character.isprintable() or character in "{}"]:
            raise UserError(f"{str(folder)!r}: a path with {odd[0]!a} cannot be used; rename that folder.")
    # MLflow makes a folder of the name as its address spells it.
    if odd := [character for character in str(state_folder()) if character in "%?"]:
        raise UserError(
            f"{state_folder()}: the database of MLflow cannot lie in a folder with {odd[0]!r} in its path; rename that "
            "folder, or name another by WSOL_STATE."
        )
    if os.pathsep in str(Path(sys.executable).parent):
        raise UserError(
            f"{Path(sys.executable).parent}: a folder whose name holds {os.pathsep!r} cannot stand in PATH, where the "
            "stages find their interpreter; rename that folder."
        )


def check_repository(folder: Path) -> None:
    """Refuse a checkout that DVC or workspaces cannot work with.

    Raises:
        UserError: the folder lies inside of a larger repository, or nothing was committed in it yet.
    """
    try:
        top, commit = toplevel(folder), head(folder)
    except GitError:
        return  # `track` says what it could not record, and DVC and workspaces what they need
    if top.resolve() != folder.resolve():
        raise UserError(
            f"{folder} is a folder of the repository {top}. Workspaces are copies of a whole repository: give the "
            "project one of its own, for example with `git init` in this folder."
        )
    if not commit:
        raise UserError(f"nothing was committed yet in {folder}: `git add --all`, `git commit`, then run again.")


def _check_weights(path: Path, settings: TrainParams) -> None:
    """DVC knows weights by their path alone: it would take the model of the old content for that of the new."""
    facts, content = MODELS / "training.json", file_hash(path)
    known = read_json(facts, _Known).weights.get(str(path)) if facts.exists() else None
    if known not in (None, content):
        raise UserError(
            f"train.pretrained: {path} has changed since the model in {MODELS} was trained from it. DVC knows weights "
            "by their path and would not train again: give the new file another name, or bring the old one back."
        )
    if known is None:
        _check_fit(settings)


def _check_fit(settings: TrainParams) -> None:
    """Read the weights before DVC removes the old model; those that a model was trained from have been read."""
    from pipeline.models.backbones import build_backbone
    from pipeline.models.pretrained import load_pretrained

    load_pretrained(build_backbone(settings.backbone, settings.stride), settings.backbone, settings.pretrained)


def _check_backbone(params: Params) -> None:
    """Its layers are read after the training, which may take days, its map when DVC has removed the old model."""
    import torch

    from pipeline.cams.methods import find_method
    from pipeline.models.backbones import build_backbone, check_region_fits

    with torch.device("meta"):
        backbone = build_backbone(params.train.backbone, params.train.stride)
    find_method(params.extract_cams.method).check(params.extract_cams, backbone)
    if params.train.erasing == "rdap":
        check_region_fits(backbone, params.train.backbone, params.train.crop, params.train.rdap_size)


def check_data(params: Params, others: Sequence[Params] = ()) -> None:
    """Check that the raw data set is there and has the layout that prepare.dataset names.

    Args:
        others: of further trials, with the same raw data.

    Raises:
        DataError: it is missing, has another layout, or holds what DVC cannot follow.
        UserError: settings do not suit it.
    """
    root = Path(params.prepare.root)
    with reaching("prepare.root"):
        found = root.exists()
    if not found:
        raise DataError(
            f"prepare.root: {root.absolute()} does not exist. Set it in params.yaml to where the raw data set lies "
            f"(prepare.dataset is {params.prepare.dataset})."
        )
    refuse_outputs_inside(root, Path.cwd())
    files_below(root)
    dataset = find_dataset(params.prepare.dataset)
    dataset.check_layout(root)
    for each in (params, *others):
        if getattr(dataset, "SEVERAL_LABELS", False):
            each.refuse_several_labels()


def warn_of_equal_images() -> None:
    """Say again what ``prepare`` found in the data set that it has read last, where it has read one."""
    from pipeline.data.equal_images import warn_of_equal  # imports pandas

    with suppress(UserError):
        warn_of_equal(read_json(PREPARED / "dataset.json", DatasetFacts).equal_images)


def refuse_outputs_inside(root: Path, checkout: Path) -> None:
    """Raise DataError where raw data would hold what the pipeline writes, or lie in it: it would be its own input."""
    kept = [checkout.resolve() / path for path in (*OUTPUTS, Path(".git"), Path(".dvc"))]
    place = (checkout / root).resolve()
    for path in (*kept, state_folder().resolve()):
        if path.is_relative_to(place):
            raise DataError(
                f"prepare.root: {root} holds {path}, which the pipeline writes. Give the folder of the data set itself."
            )
    for path in kept:
        if place.is_relative_to(path):
            raise DataError(f"prepare.root: {root} lies in {path}, which the pipeline writes. Give another place.")


def check_writable(folder: Path) -> None:
    """A stage replaces this folder, so it must be one (or nothing yet), in a place that can be written."""
    place = folder
    with reaching("a folder to write to"):
        while not place.exists():
            place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "is not writable" if place.is_dir() else "is a file where a folder is needed"
        raise UserError(f"{place.absolute()} {reason}, so {folder} cannot be written; nothing was run or changed.")
