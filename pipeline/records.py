"""What each output was made from: a chain of hashes from the report back to the data.

Beside the files of a stage lies its ``record.json``: the SHA-256 of each file, the identities of all outputs that it
was made from, directly or not, and the parameters of all stages up to it. A record's identity is the hash of its
content, so that equal inputs give equal bytes. Whoever reads an output hashes the files as it reads them and compares
what its inputs say of one another: a flipped bit, a foreign file and outputs of two runs are named, not scored.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.files import (
    BOXES,
    CAMS,
    LABELLED,
    METRICS,
    MODELS,
    PREPARED,
    RECORD,
    REPORT,
    content,
    file_hash,
    parse_shard,
    reading,
    write_bytes,
)
from pipeline.params import Params
from pipeline.schemas import Arrays, Facts, check_arrays, parse_json

STAGES: Mapping[Path, str] = {
    LABELLED: "prepare", PREPARED: "prepare", MODELS: "train", CAMS: "extract_cams", BOXES: "localize",
    METRICS: "evaluate", REPORT: "report",
}  # fmt: skip
#: The parameters that decide what a stage writes, as dvc.yaml lists them.
PARAMS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("prepare",),
    "train": ("seed", "train"),
    "extract_cams": ("extract_cams", "train.crop", "train.precision", "train.resize"),
    "localize": ("localize", "evaluate.interval"),
    "evaluate": ("evaluate", "localize.standard", "localize.percentile"),
    "report": (),
}


class Record(Facts):
    """The content of a ``record.json``.

    Attributes:
        stage: that wrote it.
        files: SHA-256 by path, relative to the record.
        made_from: identity by output folder, of all that the files were made from.
        params: by stage, then by dotted key.
        identity: SHA-256 of all the above.
    """

    stage: str
    files: dict[str, str]
    made_from: dict[str, str]
    params: dict[str, dict[str, Any]]
    identity: str


class Training(Facts):
    """``models/training.json``: what differs between two trainings of the same weights has its own seal.

    Attributes:
        commit: that was checked out, ``+`` behind it where code differed; empty where Git could not tell.
        finished: when, in UTC, such as ``2026-01-31T12:00:00+00:00``; empty in older files.
    """

    train_key: str
    commit: str = ""
    finished: str = ""
    device: str
    seconds: float
    parameters: int
    selected_epoch: int
    weights: dict[str, str]
    history: str
    model: str
    identity: str


class Inputs:
    """The outputs that a stage reads: every file is compared with its record, and the records with one another.

    Raises:
        UserError: an output is missing or damaged, or two do not belong together.
    """

    def __init__(self, *folders: Path) -> None:
        self.records = {folder: read_record(folder) for folder in folders}
        self.made_from = {folder.as_posix(): record.identity for folder, record in self.records.items()}
        known_by: dict[str, Path] = {}
        for folder, record in self.records.items():
            for origin, identity in record.made_from.items():
                if self.made_from.setdefault(origin, identity) != identity:
                    raise _foreign(origin, folder, known_by.get(origin))
                known_by.setdefault(origin, folder)

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """The parameters of all stages that led here."""
        return {stage: values for record in self.records.values() for stage, values in record.params.items()}

    def settings(self) -> dict[str, Any]:
        """These parameters by dotted key; UserError where two stages had different values of one."""
        settings: dict[str, Any] = {}
        for stage, values in self.params.items():
            for key, value in values.items():
                if settings.setdefault(key, value) != value:
                    raise UserError(
                        f"{key} was {value!r} when {stage} ran, and {settings[key]!r} when an earlier stage ran. "
                        "Run `python -m pipeline repro`, which runs again what has changed."
                    )
        return settings

    def read(self, path: Path) -> bytes:
        """The content of a file, which must be the one that its stage wrote."""
        folder = next(folder for folder in self.records if path.is_relative_to(folder))
        record, data = self.records[folder], content(path)
        if record.files.get(path.relative_to(folder).as_posix()) != hashlib.sha256(data).hexdigest():
            raise changed(path, record.stage)
        return data

    def shards(self, folder: Path, arrays: Arrays) -> Iterator[dict[str, NDArray[Any]]]:
        """The shards that a stage wrote into a folder, in order, one in memory at a time."""
        home = next(home for home in self.records if folder.is_relative_to(home))
        for name in sorted(self.records[home].files):
            if (home / name).parent == folder:
                with reading(home / name):
                    shard = parse_shard(self.read(home / name))
                    check_arrays(shard, arrays)
                yield shard


def _foreign(origin: str, folder: Path, other: Path | None) -> UserError:
    """An output was made from another ``origin`` than the one that is there, or than ``other`` was."""
    than = "than the one here" if other is None else f"than {other}"
    return UserError(
        f"{folder.absolute()} was made from another {origin} {than}. Run `python -m pipeline repro`, or by hand "
        f"`python -m pipeline {STAGES[folder]}` and what follows it."
    )


def changed(path: Path, stage: str) -> UserError:
    """A file is not the one its record names."""
    return UserError(
        f"{path.absolute()} is not the file that stage {stage} wrote: it was changed since, or comes from another run. "
        "Run `python -m pipeline repro`, which brings it back from the cache or makes it anew, or by hand "
        f"`python -m pipeline {stage}`."
    )


def read_record(folder: Path) -> Record:
    """The record of an output folder; UserError where it is missing, damaged or another stage's."""
    record: Record = read_sealed(folder / RECORD, Record)
    if record.stage != (stage := STAGES.get(folder, record.stage)):
        raise changed(folder / RECORD, stage)
    return record


def write_record(folder: Path, home: Path, inputs: Inputs | None, params: Params, only: tuple[str, ...] = ()) -> Record:
    """Write the record of the files in a folder.

    Args:
        folder: where they lie now.
        home: the output folder they are to lie in.
        inputs: what they were made from; None where they are the first.
        only: names of those that count; all files if not given.
    """
    stage = STAGES[home]
    files = [folder / name for name in only] or sorted(path for path in folder.rglob("*") if path.is_file())
    own = {key: value for key, value in params.flat().items() if _belongs(key, stage)}
    facts = {
        "stage": stage,
        "files": {file.relative_to(folder).as_posix(): file_hash(file) for file in files},
        "made_from": inputs.made_from if inputs else {},
        "params": (inputs.params if inputs else {}) | ({stage: own} if own else {}),
    }
    write_sealed(folder / RECORD, facts)
    return read_record(folder)


def _belongs(key: str, stage: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in PARAMS[stage])


def adopt_model(folder: Path) -> None:
    """Write the record of a ``model.pt`` that was trained elsewhere: it belongs to no data that is here."""
    facts = {
        "stage": STAGES[MODELS],
        "files": {"model.pt": file_hash(folder / "model.pt")},
        "made_from": {},
        "params": {},
    }
    write_sealed(folder / RECORD, facts)


def write_sealed(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a JSON file that holds the hash of its own content as ``identity``."""
    write_bytes(path, _sealed(facts))


def read_sealed(path: Path, schema: type[Facts]) -> Any:
    """Read what :func:`write_sealed` wrote; UserError where it is missing, damaged or does not fit its schema."""
    with reading(path):
        data = content(path)
        facts = parse_json(data, schema)
        if data != _sealed({name: value for name, value in json.loads(data).items() if name != "identity"}):
            raise ValueError("its content does not fit its hash")
    return facts


def _sealed(facts: Mapping[str, Any]) -> bytes:
    canonical = json.dumps(facts, sort_keys=True, allow_nan=False)
    whole = dict(facts) | {"identity": hashlib.sha256(canonical.encode()).hexdigest()}
    return (json.dumps(whole, sort_keys=True, indent=1) + "\n").encode()
