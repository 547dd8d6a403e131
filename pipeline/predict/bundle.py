"""The self-sufficient model: one safetensors file that holds all that boxes of a new image need.

Weights under ``NUMBER.NAME``, by the number of their network (adversarial erasing trains several); as ``fitted.NAME``
what the map method has learnt from the training images; and in the header one JSON text: class names, input size,
normalisation, map method, standard, threshold and how it was chosen, data and code version. Nothing in it is code, and
none is run when it is read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from pipeline.data.manifest import read_facts
from pipeline.errors import UserError, reason
from pipeline.files import (
    BOXES,
    CAMS,
    FITTED,
    METRICS,
    MODELS,
    PREPARED,
    RECORD,
    file_hash,
    read_json,
    write_bytes,
)
from pipeline.models.localizer import Localizer, build_localizer, load_localizers
from pipeline.params import ExtractCamsParams
from pipeline.records import Inputs
from pipeline.results import RELIABILITY, read_reliability
from pipeline.schemas import DatasetFacts, Facts, ReliabilityRow, Threshold, parse_json
from pipeline.system.git import GitError
from pipeline.tracking.provenance import current_revision

#: Of the file: what a reader of another number must refuse.
FORMAT = 1
SUFFIX = ".safetensors"
_KEY = "wsol"
#: Before the names of what the map method has learnt.
_FITTED = "fitted."
Side = Annotated[int, Field(ge=8, le=8192)]


class ModelFacts(Facts):
    """What a model file says beside its weights.

    Attributes:
        format: :data:`FORMAT` of the writer.
        classes: names, in the order of the logits.
        crop: side in pixels of the square that whole images are squashed to.
        resize: side of the square that ten crops are taken from.
        upright: images are turned as their orientation tag says, and boxes are in pixels of the turned ones.
        mean: of the channels, in [0, 1], subtracted from the input; ``std`` divides it.
        precision: of the features.
        architecture: as :func:`pipeline.models.localizer.build_localizer` takes it.
        networks: how many there are.
        extract_cams: the map method and its settings.
        standard: ``max`` or ``percentile``; with ``percentile``, what ``threshold`` is a fraction of.
        threshold_source: ``val``: best GT-known localization at IoU 0.5 on val; ``paper``: as val has no boxes,
            that of the standard's paper; ``fixed``: given.
        reliability: how often boxes of a score were right on test, by tenths of the score; empty where test has no
            boxes, or these were not scored yet.
        data_hash: of all images it was trained and scored on.
        code: commit it was made by, with ``+`` where files differed from it.
        product: version of the pipeline.
    """

    format: int
    classes: Annotated[list[str], Field(min_length=1, max_length=100_000)]
    crop: Side
    resize: Side
    upright: bool = False
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[float], Field(min_length=3, max_length=3)]
    precision: Literal["float32", "bfloat16", "float16"]
    architecture: dict[str, Any]
    networks: int = Field(ge=1, le=5)
    extract_cams: ExtractCamsParams
    standard: Literal["max", "percentile"]
    percentile: float = Field(ge=0, le=100)
    threshold: float = Field(ge=0, lt=1)
    threshold_source: Literal["val", "paper", "fixed"]
    reliability: list[ReliabilityRow] = Field(default_factory=list)
    data_hash: str
    code: str
    product: str

    @property
    def standard_percentile(self) -> float:
        """The percentile of the grey values that the threshold is a fraction of."""
        return 100.0 if self.standard == "max" else self.percentile


@dataclass(frozen=True)
class Model:
    """A model that is ready to use.

    Attributes:
        facts: what it says of itself.
        networks: in evaluation mode, on the CPU.
        fitted: what the map method has learnt from the training images.
        version: first twelve digits of the SHA-256 of its file.
    """

    facts: ModelFacts
    networks: list[Localizer]
    fitted: dict[str, Tensor]
    version: str


def write_model_here(path: Path) -> ModelFacts:
    """Write the model of the last run in this folder, from models/, cams/, boxes/, data/prepared/ and metrics/, if any.

    Raises:
        UserError: one of them is missing, damaged or of another run.
    """
    inputs = Inputs(PREPARED, MODELS, CAMS, BOXES)
    settings, data = inputs.settings(), read_facts(read=inputs.read)
    if data.several_labels:
        raise UserError(
            "a model whose images may have several labels cannot be written as one file: predict gives an image one "
            "class. Its boxes are in boxes/predictions.parquet, its masks in boxes/masks."
        )
    if settings.get("localize.refine", "none") != "none":
        raise UserError(
            f"maps refined by {settings['localize.refine']} are not drawn by predict, so that this result cannot be "
            "written as one file; set localize.refine: none for that. Its boxes are in boxes/predictions.parquet."
        )
    threshold: Threshold = read_json(BOXES / "threshold.json", Threshold, inputs.read)
    networks, architecture = load_localizers(MODELS / "model.pt", inputs.read)
    try:
        checked = _described(settings, data, threshold, networks, architecture, _reliability(inputs))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the result here was made by another version, whose settings do not describe a model: {reason(error)}. "
            "Run `python -m pipeline repro`."
        ) from None
    write_bytes(path, _file(checked, networks, _fitted(inputs)))
    return checked


def _fitted(inputs: Inputs) -> dict[str, Tensor]:
    """What the map method has learnt; nothing where it learns nothing."""
    if not (CAMS / FITTED).exists():
        return {}
    state: dict[str, Tensor] = load(inputs.read(CAMS / FITTED))
    return state


def _reliability(inputs: Inputs) -> list[ReliabilityRow]:
    """What scores were worth on test; nothing where these boxes have not been scored yet."""
    if not (METRICS / RECORD).exists():
        return []
    scored = Inputs(METRICS)
    same = scored.made_from[BOXES.as_posix()] == inputs.made_from[BOXES.as_posix()]
    if not same or RELIABILITY.name not in scored.records[METRICS].files:
        return []
    return read_reliability(scored)["test"]


def _described(
    settings: Mapping[str, Any],
    data: DatasetFacts,
    threshold: Threshold,
    networks: list[Localizer],
    architecture: dict[str, Any],
    reliability: list[ReliabilityRow],
) -> ModelFacts:
    """What the file is to say; KeyError or ValueError where the settings are those of another version."""
    facts = {
        "format": FORMAT, "classes": data.classes, "architecture": architecture, "networks": len(networks),
        "crop": settings["train.crop"], "resize": settings["train.resize"],
        "upright": data.upright, "precision": settings["train.precision"],
        "mean": _channels(networks[0].mean), "std": _channels(networks[0].std),
        "extract_cams": _group(settings, "extract_cams"),
        "standard": settings["localize.standard"], "percentile": settings["localize.percentile"],
        "threshold": threshold.threshold, "threshold_source": threshold.threshold_source,
        "reliability": [row.model_dump() for row in reliability],
        "data_hash": data.content_hash, "code": _code(), "product": _product(),
    }  # fmt: skip
    checked: ModelFacts = parse_json(json.dumps(facts).encode(), ModelFacts)
    return checked


def _channels(buffer: Tensor) -> list[float]:
    """Three numbers of the network's input normalisation, in [0, 1]."""
    return [round(value / 255, 6) for value in buffer.flatten().tolist()]


def _group(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {key.removeprefix(f"{group}."): value for key, value in settings.items() if key.startswith(f"{group}.")}


def _code() -> str:
    try:
        revision = current_revision()
    except GitError:
        return "unknown"
    return revision.commit + ("+" if revision.patch else "")


def _product() -> str:
    try:
        return version("wsol-pipeline")
    except PackageNotFoundError:
        return "unknown"


def _file(facts: ModelFacts, networks: list[Localizer], fitted: Mapping[str, Tensor]) -> bytes:
    tensors = {
        f"{number}.{name}": value.detach().cpu().contiguous().clone()
        for number, network in enumerate(networks)
        for name, value in network.state_dict().items()
    } | {f"{_FITTED}{name}": value for name, value in fitted.items()}
    # One key: the library writes several in any order, and the same model is to be the same bytes.
    text = json.dumps(facts.model_dump(by_alias=True, mode="json"), sort_keys=True)
    data: bytes = save(tensors, {_KEY: text})
    return data


def read_model(path: Path) -> Model:
    """Read what :func:`write_model_here` wrote.

    Raises:
        UserError: it is missing or damaged, is not a model file, or is of a format that this version cannot read.
    """
    if not path.is_file():
        raise UserError(f"{path.absolute()} is not a model file: there is no such file.")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()} if text else {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path.absolute()} is not a model file, or is damaged: {reason(error)}.") from None
    if not text:
        raise UserError(f"{path.absolute()} holds weights alone; a model file is made by `python -m pipeline predict`.")
    facts = _facts(path, text)
    fitted = {name.removeprefix(_FITTED): value for name, value in tensors.items() if name.startswith(_FITTED)}
    return Model(facts, _networks(path, facts, tensors), fitted, file_hash(path)[:12])


def _facts(path: Path, text: str) -> ModelFacts:
    try:
        number = json.loads(text).get("format")
        if number != FORMAT:
            raise UserError(
                f"{path.absolute()} is a model file of format {number!r}; this version reads format {FORMAT}. Use the "
                "version of the pipeline that made it, or make it again with this one."
            )
        facts: ModelFacts = parse_json(text.encode(), ModelFacts)
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path.absolute()} is not a model file of this pipeline: {reason(error)}.") from None
    return facts


def _networks(path: Path, facts: ModelFacts, tensors: Mapping[str, Tensor]) -> list[Localizer]:
    networks = []
    try:
        # On no device first: a foreign description may ask for any amount of memory.
        with torch.device("meta"):
            shapes = build_localizer(facts.architecture | {"classes": len(facts.classes)}).state_dict()
        for number in range(facts.networks):
            state = {name: tensors[f"{number}.{name}"] for name in shapes}
            if wrong := [name for name, value in state.items() if value.shape != shapes[name].shape]:
                raise ValueError(f"{wrong[0]} has another shape than its network")
            network = build_localizer(facts.architecture)
            network.load_state_dict(state)
            if [facts.mean, facts.std] != [_channels(network.mean), _channels(network.std)]:
                raise ValueError("it normalises its input in another way")
            networks.append(network.eval())
    except UserError:
        raise
    except Exception as error:  # whatever a foreign description makes the builders raise
        raise UserError(
            f"{path.absolute()} describes a network that this version cannot build: {type(error).__name__}: "
            f"{reason(error)}."
        ) from None
    return networks
