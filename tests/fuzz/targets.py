"""What is damaged, and the command that reads it."""

import json
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import RECORD, file_hash
from pipeline.records import read_record, write_sealed


@dataclass(frozen=True)
class Target:
    """Files of a kind, and the command that meets them.

    Attributes:
        files: patterns, relative to the project.
        command: its arguments.
        writes: what the command may change, and only when it succeeds.
        sealed: the output folder whose record then names the damaged file as its own, as somebody who knows the
            format could let it. Without that the damage is found by its hash, and goes no further.
        settings: of params.yaml, by dotted key.
    """

    files: tuple[str, ...]
    command: tuple[str, ...]
    writes: tuple[str, ...] = ()
    sealed: str = ""
    settings: tuple[tuple[str, str], ...] = ()


PREDICT = ("predict", "photos", "--model", "bundle.safetensors", "--out", "out")
PHOTOS = (("prepare.dataset", "folder"), ("prepare.root", "photos"))
TARGETS = {
    "params": Target(("params.yaml",), ("check",)),
    "sweep": Target(("sweep.yaml",), ("sweep", "sweep.yaml", "--dry-run")),
    "lock": Target(("dvc.lock",), ("check",)),
    "record": Target(("metrics/record.json", "boxes/record.json"), ("report",), ("report",)),
    "prepared": Target(("data/prepared/*.*",), ("evaluate",), ("metrics",), "data/prepared"),
    "labelled": Target(("data/labelled/*.*",), ("extract_cams",), ("cams",), "data/labelled"),
    "model": Target(("models/*.*",), ("extract_cams",), ("cams",), "models"),
    "maps": Target(("cams/*/*.npz",), ("localize",), ("boxes",), "cams"),
    "boxes": Target(("boxes/*.*", "boxes/*/*"), ("evaluate",), ("metrics",), "boxes"),
    "metrics": Target(("metrics/*",), ("report",), ("report",), "metrics"),
    "shown": Target(("metrics/*",), ("show",), (), "metrics"),
    "score": Target(
        ("cams/test/*.npz", "data/labelled/manifest.parquet"),
        ("score", "--maps", "cams/test", "--truth", "data/prepared", "--interval", "0.1", "--processes", "1"),
    ),
    "weights": Target(("weights.pth",), ("train",), ("models",), settings=(("train.pretrained", "weights.pth"),)),
    "bundle": Target(("bundle.safetensors",), PREDICT, ("out",)),
    "photos": Target(("photos/*/*",), PREDICT, ("out",)),
    "own images": Target(("photos/*/*", "photos/boxes.csv"), ("prepare",), ("data",), settings=PHOTOS),
    **{
        f"annotations of {name}": Target(
            (f"notes/{files}",), ("import-boxes", f"notes/{given}"), ("photos",), settings=PHOTOS
        )
        for name, files, given in (
            ("coco", "coco.json", "coco.json"),
            ("cvat", "cvat.xml", "cvat.xml"),
            ("voc", "voc/**/*.xml", "voc"),
            ("yolo", "yolo/**/*.*", "yolo"),
        )
    },
}


def reseal(project: Path, folder: str, file: Path) -> None:
    """Let the record of an output folder, and the hash of a sealed file, fit a file as it is now."""
    with chdir(project), suppress(ValueError, AttributeError, RecursionError, UserError):
        if file.suffix == ".json" and "identity" in (facts := json.loads(file.read_bytes())):
            write_sealed(file, {name: value for name, value in facts.items() if name != "identity"})
        if file.name != RECORD:
            whole = read_record(Path(folder)).model_dump(exclude={"identity"})
            whole["files"][file.relative_to(project / folder).as_posix()] = file_hash(file)
            write_sealed(Path(folder) / RECORD, whole)
