"""Going on after a kill: checkpoints in the state folder, under the key of what is being trained."""

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pipeline import console
from pipeline.errors import UserError
from pipeline.files import LABELLED, file_hash, reading, weights_file, write_bytes
from pipeline.params import Params
from pipeline.system.dvc import code_files, read_stages
from pipeline.system.state import checkpoints_folder


def train_key(params: Params) -> str:
    """Hash of everything a training depends on: its parameters, its code and its data.

    The code is what ``dvc.yaml`` lists for the stage, the data what ``prepare`` recorded of images and
    labels, image contents included; boxes and masks are none of a training's business.
    """
    settings = {"seed": params.seed, "train": params.train.model_dump(by_alias=True)}
    if isinstance(params.train.pretrained, str):
        settings["weights"] = file_hash(weights_file(params.train.pretrained))
    parts = [json.dumps(settings, sort_keys=True)]
    parts += [f"{path}:{file_hash(path)}" for path in (*_code_files(), *sorted(LABELLED.glob("*.*")))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _code_files() -> list[Path]:
    stages = read_stages()
    if "train" not in stages:
        raise UserError("dvc.yaml has no stage 'train', whose code a training is known by.")
    return code_files([stages["train"]])


class Checkpoint:
    """The one checkpoint of a training; a training with another key never sees it."""

    def __init__(self, key: str) -> None:
        self.path = checkpoints_folder() / f"{key}.pt"

    def load(self) -> dict[str, Any] | None:
        """The last saved state, on the CPU, or None at the start; a damaged one is removed with a warning."""
        if not self.path.is_file():
            return None
        try:
            with reading(self.path):
                state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except UserError:
            console.warn(f"the checkpoint {self.path} is damaged; training starts anew")
            self.path.unlink()
            return None
        return state

    def saved_at(self) -> str:
        """When the last state was saved, in UTC to the second; empty where none was, as in other processes."""
        if not self.path.is_file():
            return ""
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC).isoformat(timespec="seconds")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state in one step."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(self.path, buffer.getvalue())
