"""``params.yaml``: its schema, and errors that name the key, the file and the nearest valid key."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from pipeline.errors import ParamsError
from pipeline.files import reaching
from pipeline.models.zoo import BACKBONES
from pipeline.strict_yaml import read_yaml, shorten

PARAMS_FILE = Path("params.yaml")
#: A map method is a file: its name is the choice.
MAP_METHODS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("cams/methods/[a-z]*.py")))
#: So is a data set.
DATASETS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("data/sets/[a-z]*.py")))
#: Named in one error.
MOST_PROBLEMS = 20


class _Group(BaseModel):
    """A group of keys: every key is required, none may be added, no value is converted (but int to float)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, allow_inf_nan=False)


#: A share of a whole, or a probability.
Share = Annotated[float, Field(ge=0, le=1)]
# Bounds far above any use: what exceeds them is a slip that would fail after hours, or fill memory and disk.
Pixels = Annotated[int, Field(ge=32, le=8192)]
Images = Annotated[int, Field(ge=1, le=65_536)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Factor = Annotated[float, Field(gt=0, le=1e6)]


def _fits_a_file_system(path: str) -> str:
    if "\0" in path or any(len(part.encode()) > 255 for part in path.split("/")):
        raise ValueError("not a path: a name in it has more than 255 bytes or a NUL character")
    return path


PathText = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_fits_a_file_system)]


class SyntheticParams(_Group):
    """The embedded data set."""

    classes: int = Field(ge=2, le=12)
    train_per_class: int = Field(ge=1, le=100_000)
    test_per_class: int = Field(ge=1, le=100_000)
    image_size: Pixels


class PrepareParams(_Group):
    """From a raw data set to the manifest."""

    dataset: Literal[*DATASETS]  # type: ignore[valid-type]
    root: PathText
    seed: int = Field(ge=0, lt=2**63)
    strict: bool
    test_fraction: float = Field(gt=0, lt=1)
    val_fraction: float = Field(gt=0, lt=1)
    gate_fraction: float = Field(ge=0, lt=1)
    synthetic: SyntheticParams

    @model_validator(mode="after")
    def _leaves_training_images(self) -> "PrepareParams":
        if (taken := self.val_fraction + self.gate_fraction) >= 1:
            raise ValueError(f"val_fraction and gate_fraction take {taken:g} of the training images: leave some")
        return self


class TrainParams(_Group):
    """The classifier and its training."""

    backbone: Literal[*BACKBONES]  # type: ignore[valid-type]
    pretrained: StrictBool | PathText
    stride: Literal[8, 16, 32]
    head: Literal["gap", "gmp", "tap", "conv", "acol"]
    tap_threshold: Share
    acol_threshold: Share
    acol_width: int = Field(ge=1, le=16_384)
    regularizer: Literal["kl_uniform", "kl_uniform_sum", "confidence_penalty", "jeffreys", "jensen_shannon",
                         "label_smoothing", "none"]  # fmt: skip
    lambda_: float = Field(alias="lambda", ge=0, le=1e6)
    erasing: Literal["none", "has", "cutmix", "adl", "rdap", "ae"]
    has_rate: Share
    has_sides: Annotated[list[Annotated[int, Field(ge=0, le=8192)]], Field(min_length=1, max_length=100)]
    cutmix_beta: Factor
    cutmix_probability: Share
    dropout_rate: Share
    adl_threshold: Share
    rdap_size: int = Field(ge=1, le=1024)
    ae_steps: int = Field(ge=2, le=5)
    ae_threshold: float = Field(gt=0, le=1)
    resize: Pixels
    crop: Pixels
    epochs: Epochs
    batch_size: int = Field(ge=2, le=65_536)
    accumulate: Images
    optimizer: Literal["sgd", "adamw"]
    lr: float = Field(gt=0, le=1e3)
    head_lr_factor: Factor
    bias_lr_factor: Factor
    momentum: float = Field(gt=0, lt=1)
    weight_decay: float = Field(ge=0, le=1e3)
    schedule: Literal["cosine", "step", "one_cycle"]
    warm_up: float = Field(ge=0, lt=1)
    step_epochs: Annotated[list[Epochs], Field(max_length=1000)]
    step_factor: float = Field(gt=0, lt=1)
    clip: float = Field(ge=0, le=1e9)
    ema: float = Field(ge=0, lt=1)
    freeze_batch_norm: bool
    freeze_backbone: bool
    select: Literal["last", "best"]
    precision: Literal["float32", "bfloat16", "float16"]
    channels_last: bool
    compile: bool

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainParams":
        if self.stride not in (strides := BACKBONES[self.backbone].strides):
            raise ValueError(f"{self.backbone} has no stride {self.stride}: give {' or '.join(map(str, strides))}")
        if self.crop > self.resize:
            raise ValueError(f"crop ({self.crop}) must not exceed resize ({self.resize})")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})")
        if self.regularizer == "label_smoothing" and self.lambda_ > 1:
            raise ValueError(f"lambda ({self.lambda_:g}) is a share when regularizer is label_smoothing: at most 1")
        if self.head == "acol" and self.erasing == "cutmix":
            raise ValueError("head acol hides what it finds of the one true class; images of cutmix have two classes")
        if self.freeze_backbone and self.erasing in ("adl", "rdap"):
            raise ValueError(f"erasing {self.erasing} works inside the backbone, which freeze_backbone does not train")
        if self.pretrained is False and (self.freeze_backbone or self.freeze_batch_norm):
            frozen = "freeze_backbone" if self.freeze_backbone else "freeze_batch_norm"
            raise ValueError(f"{frozen} keeps what was pretrained, and pretrained is false: there is nothing to keep")
        if self.freeze_backbone and BACKBONES[self.backbone].untrained:
            raise ValueError(f"freeze_backbone would keep layers of {self.backbone} that no library has weights for")
        if self.schedule == "step" and sorted(set(self.step_epochs)) != self.step_epochs:
            raise ValueError(f"step_epochs {self.step_epochs} must rise")
        if self.head == "acol" and self.erasing == "ae":
            raise ValueError("head acol is adversarial erasing inside one network; combine it with another erasing")
        return self


class ExtractCamsParams(_Group):
    """From images and model to maps."""

    method: Literal[*MAP_METHODS]  # type: ignore[valid-type]
    clamp_negative_weights: bool
    relu: bool
    acol_map: Literal["fused", "first", "second"]
    flip: bool
    ddt_layers: Annotated[
        list[Annotated[str, Field(pattern=r"^[\w.]{1,100}@[1-9]\d{1,3}$")]], Field(min_length=1, max_length=20)
    ]
    ddt_context: float = Field(ge=0, le=100)
    ten_crop: bool
    batch_size: Images

    @property
    def ddt_sources(self) -> list[tuple[str, int]]:
        """Layers and sides of the images, in pixels, that ``ddt_layers`` names as ``LAYER@SIDE``."""
        return [(layer, int(side)) for layer, side in (source.split("@") for source in self.ddt_layers)]

    @model_validator(mode="after")
    def _fits_together(self) -> "ExtractCamsParams":
        if self.clamp_negative_weights and self.method != "cam":
            raise ValueError(f"clamp_negative_weights is about the weights of cam, which {self.method} does not use")
        return self


class LocalizeParams(_Group):
    """From maps to boxes."""

    standard: Literal["max", "percentile"]
    percentile: float = Field(ge=0, le=100)
    threshold: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)]


def _whole_percents(values: list[float]) -> list[float]:
    if len(set(values)) != len(values) or any(round(v * 100, 9) % 1 for v in values):
        raise ValueError("each criterion once, in whole percents such as 0.5")
    return values


class EvaluateParams(_Group):
    """From boxes and maps to metrics."""

    iou: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_whole_percents)]
    interval: float = Field(ge=1e-4, le=0.5)


class TrackParams(_Group):
    """Where the run is recorded."""

    experiment: str = Field(pattern=r"^[/\w.\- ]+$", max_length=250)


#: Accuracies that ``evaluate`` measures and that are a mean over images, so that runs can be compared image by image.
_PER_IMAGE = re.compile(r"gt_known_iou\d\d|top[15]_loc_iou50|cls_top[15]|mean_iou")
_NOT_FOR_PROMOTION = {
    "val": "has chosen the threshold and the best of a sweep already",
    "test": "is only reported: of a champion that was chosen by it, nothing would tell how good it is",
}


def _promotable(metric: str) -> str:
    split, _, name = metric.partition(".")
    if not _PER_IMAGE.fullmatch(name):
        raise ValueError(
            f"{metric!r} is not an accuracy that is measured for each image; name gate.gt_known_iou50, "
            "gate.top1_loc_iou50, gate.top5_loc_iou50, gate.mean_iou, gate.cls_top1 or gate.cls_top5"
        )
    if reason := _NOT_FOR_PROMOTION.get(split):
        raise ValueError(f"{metric}: promotion cannot decide on {split}, which {reason}; name gate.{name}")
    if split != "gate":
        raise ValueError(f"{metric}: promotion decides on the split gate; name gate.{name}")
    return metric


_Promotable = Annotated[str, Field(max_length=60), AfterValidator(_promotable)]


class PromoteParams(_Group):
    """When a run takes the champion's place."""

    metric: _Promotable
    min_gain: float = Field(ge=0, le=100)
    guards: Annotated[list[_Promotable], Field(max_length=20)]
    tolerance: float = Field(ge=0, le=100)
    floor: float = Field(ge=0, le=100)


class Params(_Group):
    """All of ``params.yaml``."""

    seed: int = Field(ge=0, lt=2**63)
    prepare: PrepareParams
    train: TrainParams
    extract_cams: ExtractCamsParams
    localize: LocalizeParams
    evaluate: EvaluateParams
    track: TrackParams
    promote: PromoteParams

    @model_validator(mode="after")
    def _fits_together(self) -> "Params":
        if self.train.erasing == "ae" and self.extract_cams.method == "ddt":
            raise ValueError("extract_cams.method ddt reads one network; train.erasing ae trains several")
        if self.train.head == "acol" and self.extract_cams.relu and self.extract_cams.acol_map == "fused":
            raise ValueError("extract_cams.relu changes nothing of ACoL's fused map, which is normalised already")
        if self.train.head == "acol" and self.extract_cams.method not in ("cam", "ddt"):
            raise ValueError(
                f"extract_cams.method {self.extract_cams.method} does not know the two branches of train.head acol; "
                "set it to cam"
            )
        criteria = [f"gate.gt_known_iou{round(100 * iou)}" for iou in self.evaluate.iou]
        for metric in (self.promote.metric, *self.promote.guards):
            if metric.startswith("gate.gt_known") and metric not in criteria:
                raise ValueError(f"promote: {metric} is not measured, as evaluate.iou is {self.evaluate.iou}")
        return self

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted key, such as ``train.lambda``."""
        return dict(flatten(self.model_dump(by_alias=True)))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``(dotted key, value)`` of every value in groups of keys."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate a parameters file.

    Raises:
        ParamsError: the file is missing or is not YAML, or a key is unknown, missing or ill-typed; all of them named.
    """
    with reaching("the parameters"):
        data = path.read_bytes() if path.is_file() else None
    if data is None:
        raise ParamsError(f"{path.absolute()} does not exist. Run commands from the root of the repository.")
    return parse_params(data, str(path))


def parse_params(text: str | bytes, source: str) -> Params:
    """Validate the text of a parameters file; ``source`` names it in errors, which are those of :func:`load_params`."""
    return validate_params(read_yaml(text, source), source)


def validate_params(tree: Any, source: str) -> Params:
    """Validate what a parameters file holds; ``source`` names it in errors, which are those of :func:`load_params`."""
    if not isinstance(tree, dict):
        raise ParamsError(f"{source} must hold groups of keys, found {type(tree).__name__}.")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = [f"  {problem}" for problem in sorted({_explain(e, tree) for e in found[:MOST_PROBLEMS]})]
        if len(found) > MOST_PROBLEMS:
            problems.append(f"  … and {len(found) - MOST_PROBLEMS:,} more")
        raise ParamsError(f"{source} is not valid:\n" + "\n".join(problems) + "\nNothing was run or changed.") from None


def replaced(params: Params, values: Mapping[str, Any]) -> Params:
    """Parameters with some values replaced, by dotted key.

    Raises:
        ParamsError: they do not go together, as those of another version may.
    """
    tree = params.model_dump(by_alias=True)
    for key, value in values.items():
        *groups, name = key.split(".")
        group = tree
        for part in groups:
            group = group.setdefault(part, {})
        group[name] = value
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(_explain(e, tree) for e in error.errors())
        raise ParamsError(
            f"the result was made by another version, with parameters that this one does not take: {problems} "
            "Run `python -m pipeline repro`."
        ) from None


def _valid_keys(model: type[BaseModel] = Params, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _valid_keys(field.annotation, f"{key}.")


def _explain(error: Any, tree: dict[str, Any]) -> str:
    """One line for one of pydantic's errors, in terms of the file."""
    keys = list(_valid_keys())
    # Pydantic appends the branch of a union it tried: only what names a key of the file is kept.
    location = [str(part) for part in error["loc"]]
    while len(location) > 1 and ".".join(location) not in keys and error["type"] != "extra_forbidden":
        location.pop()
    key = ".".join(location)
    match error["type"]:
        case "extra_forbidden":
            others = [other for other in keys if not key.startswith(f"{other}.")]
            near = difflib.get_close_matches(key, others, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(_siblings(location, keys))}."
            return f"{key}: unknown key; {hint}"
        case "missing":
            return f"{key}: missing; add it (the committed params.yaml shows its default)."
        case "value_error":
            return f"{key}: {error['ctx']['error']}.".removeprefix(": ")
    return f"{key}: {error['msg']}, found {shorten(repr(_value_at(tree, location)))}."


def _siblings(location: list[str], keys: list[str]) -> list[str]:
    return [k for k in keys if k.split(".")[:-1] == location[:-1]]


def _value_at(tree: Any, location: list[str]) -> Any:
    for part in location:
        tree = tree.get(part) if isinstance(tree, dict) else tree
    return tree
