"""``params.yaml``: its schema, and errors that name the key, the file and the nearest valid key.

Titles and descriptions are what ``pipeline/params.schema.json``, ``docs/params.md`` and Airflow's form say of a key:
after a change, ``python -m pipeline.params_reference``.
"""

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

    classes: int = Field(ge=2, le=12, title="classes", description="number of classes, 2 to 12")
    train_per_class: int = Field(
        ge=1, le=100_000, title="training images per class", description="images per class, before val is taken out"
    )
    test_per_class: int = Field(ge=1, le=100_000, title="test images per class", description="images per class")
    image_size: Pixels = Field(title="side of the images", description="side in pixels")


class PrepareParams(_Group):
    """From a raw data set to the manifest."""

    dataset: Literal[*DATASETS] = Field(  # type: ignore[valid-type]
        title="data set",
        description="synthetic (generated, no download) | folder (your own images) | a published one: docs/data.md",
    )
    root: PathText = Field(
        title="folder of the raw data",
        description="folder of the raw data; of cub its CUB_200_2011 folder; nothing of it is read for synthetic",
    )
    seed: int = Field(
        ge=0,
        lt=2**63,
        title="seed of the data",
        description="of the synthetic images and of val and gate; not touched by a sweep over `seed`",
    )
    strict: bool = Field(
        title="refuse a faulty data set",
        description="true: refuse a data set of which anything cannot be used | false: leave that out, and list "
        "it in data/prepared/problems.csv",
    )
    test_fraction: float = Field(
        gt=0,
        lt=1,
        title="share of test",
        description="share of the images, per class, set aside as test where a data set of folder has none of its own",
    )
    val_fraction: float = Field(
        gt=0, lt=1, title="share of val", description="share of the training images, per class, set aside as val"
    )
    gate_fraction: float = Field(
        ge=0,
        lt=1,
        title="share of gate",
        description="share of the training images, per class, set aside as gate, on which promotion decides; "
        "synthetic draws as many besides; 0: none",
    )
    synthetic: SyntheticParams

    @model_validator(mode="after")
    def _leaves_training_images(self) -> "PrepareParams":
        if (taken := self.val_fraction + self.gate_fraction) >= 1:
            raise ValueError(f"val_fraction and gate_fraction take {taken:g} of the training images: leave some")
        return self


class TrainParams(_Group):
    """The classifier and its training."""

    backbone: Literal[*BACKBONES] = Field(  # type: ignore[valid-type]
        title="backbone",
        description="a network of pipeline/models/zoo.py, all listed in docs/params.md",
    )
    pretrained: StrictBool | PathText = Field(
        title="pretrained weights",
        examples=[False, True],
        description="true: ImageNet weights by library download | false | path of a local .pth file",
    )
    stride: Literal[8, 16, 32] = Field(
        title="stride of the features",
        description="of the features: 16 (a 14×14 map of a 224 image) | 8 (28×28) | 32 (7×7, the network unaltered)",
    )
    head: Literal["gap", "gmp", "tap", "conv", "acol"] = Field(
        title="head",
        description="gap (CAM, CVPR 2016) | gmp: global max pooling | tap: thresholded average pooling (ECCV "
        "2020) | conv: 1×1 convolution | acol: two adversarial branches (CVPR 2018)",
    )
    tap_threshold: Share = Field(
        title="threshold of TAP", description="of tap: share of a channel's maximum below which values are left out"
    )
    acol_threshold: Share = Field(
        title="threshold of ACoL",
        description="of acol: what the first branch's normalised map finds from here on is hidden from the second",
    )
    acol_width: int = Field(
        ge=1, le=16_384, title="width of ACoL's branches", description="of acol: channels of the branches"
    )
    regularizer: Literal["kl_uniform", "kl_uniform_sum", "confidence_penalty", "jeffreys", "jensen_shannon",
                         "label_smoothing", "none"] = Field(
        title="regularizer",
        description="kl_uniform: KL(u||p), PRL 2023 | kl_uniform_sum | confidence_penalty | jeffreys | "
        "jensen_shannon | label_smoothing | none"
    )  # fmt: skip
    lambda_: float = Field(
        alias="lambda",
        ge=0,
        le=1e6,
        title="weight of the regularizer (λ)",
        description="weight of the regularizer; of label_smoothing the share ε of the uniform distribution",
    )
    erasing: Literal["none", "has", "cutmix", "adl", "rdap", "ae"] = Field(
        title="erasing or mixing",
        description="has: hide and seek | cutmix | adl: attention-based dropout | rdap: region-based dropout | "
        "ae: adversarial erasing | none",
    )
    has_rate: Share = Field(title="rate of hide and seek", description="of has: probability that a cell is hidden")
    has_sides: Annotated[list[Annotated[int, Field(ge=0, le=8192)]], Field(min_length=1, max_length=100)] = Field(
        title="cells of hide and seek", description="of has: cell sides in pixels, one drawn per image; 0 hides nothing"
    )
    cutmix_beta: Factor = Field(title="β of CutMix", description="of cutmix: λ ~ Beta(β, β)")
    cutmix_probability: Share = Field(
        title="probability of CutMix", description="of cutmix: share of the batches that are mixed"
    )
    dropout_rate: Share = Field(
        title="drop rate of ADL and RDAP",
        description="of adl and rdap: share of the passes that drop instead of weighting by importance",
    )
    adl_threshold: Share = Field(
        title="threshold of ADL",
        description="of adl: share of the attention's maximum from which positions are dropped",
    )
    rdap_size: int = Field(
        ge=1,
        le=1024,
        title="square of RDAP",
        description="of rdap: side of the dropped square, in positions of the feature map",
    )
    ae_steps: int = Field(
        ge=2,
        le=5,
        title="steps of adversarial erasing",
        description="of ae: networks trained one after the other, each on what the ones before leave",
    )
    ae_threshold: float = Field(
        gt=0,
        le=1,
        title="threshold of adversarial erasing",
        description="of ae: share of the map's maximum from which the image is erased",
    )
    resize: Pixels = Field(
        title="side of the resized image", description="images are squashed to this square; training crops from it"
    )
    crop: Pixels = Field(
        title="side of the input",
        description="side of the network's input: random crop in training, whole image otherwise",
    )
    epochs: Epochs = Field(title="epochs", description="passes over the training images")
    batch_size: int = Field(ge=2, le=65_536, title="batch size", description="images per step, over all processes")
    accumulate: Images = Field(
        title="accumulation of gradients",
        description="forward passes that a step's images are split into, to save memory",
    )
    optimizer: Literal["sgd", "adamw"] = Field(title="optimizer", description="sgd: with Nesterov momentum | adamw")
    lr: float = Field(gt=0, le=1e3, title="learning rate", description="of the backbone")
    head_lr_factor: Factor = Field(
        title="learning rate factor of the head", description="learning rate of the head, as a multiple of lr"
    )
    bias_lr_factor: Factor = Field(
        title="learning rate factor of biases", description="learning rate of biases, as a further multiple"
    )
    momentum: float = Field(gt=0, lt=1, title="momentum", description="of sgd; of adamw its first beta")
    weight_decay: float = Field(
        ge=0, le=1e3, title="weight decay", description="of all weights but those of norms and biases"
    )
    schedule: Literal["cosine", "step", "one_cycle"] = Field(
        title="schedule of the learning rate",
        description="cosine: down to zero | step: times step_factor after each of step_epochs | one_cycle",
    )
    warm_up: float = Field(
        ge=0,
        lt=1,
        title="warm-up",
        description="share of the steps in which the learning rate rises from zero; not of one_cycle",
    )
    step_epochs: Annotated[list[Epochs], Field(max_length=1000)] = Field(
        title="epochs of the steps", description="of step"
    )
    step_factor: float = Field(gt=0, lt=1, title="factor of a step", description="of step")
    clip: float = Field(
        ge=0, le=1e9, title="clipping of the gradient", description="largest norm of the gradient; 0: not clipped"
    )
    ema: float = Field(
        ge=0,
        lt=1,
        title="moving average of the weights",
        description="decay, such as 0.999, of a moving average of the weights that then is the model; 0: none",
    )
    freeze_batch_norm: bool = Field(
        title="freeze batch norm",
        description="keep the statistics and affine weights of pretrained batch norm as they are",
    )
    freeze_backbone: bool = Field(
        title="freeze the backbone", description="train the head alone, on the backbone's features as they are"
    )
    select: Literal["last", "best"] = Field(
        title="epoch to keep", description="last | best: epoch with the highest classification accuracy on val"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        title="precision",
        description="float32 | bfloat16 | float16: mixed precision, several times faster where hardware supports it",
    )
    channels_last: bool = Field(
        title="channels last", description="memory layout of images and features; false is the library's default"
    )
    compile: bool = Field(
        title="compile the network", description="torch.compile: minutes at the start, faster steps on a GPU"
    )

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

    method: Literal[*MAP_METHODS] = Field(  # type: ignore[valid-type]
        title="map method",
        description="cam: features weighted by the class's weights | grad_cam | grad_cam_plus_plus | layer_cam | "
        "ddt: deep descriptor transforming, knows no classes",
    )
    clamp_negative_weights: bool = Field(
        title="clamp negative weights",
        description="NWC (ECCV 2020): maps of cam use max(w, 0); logits keep the raw weights",
    )
    relu: bool = Field(
        title="cut negative values", description="cut negative values of the map before it is normalised"
    )
    acol_map: Literal["fused", "first", "second"] = Field(
        title="map of ACoL",
        description="of head acol: fused: maximum of both branches' normalised maps | first | second",
    )
    flip: bool = Field(
        title="average with the mirror image",
        description="mean of the image's map and of its mirror image's, turned back",
    )
    ddt_layers: Annotated[
        list[Annotated[str, Field(pattern=r"^[\w.]{1,100}@[1-9]\d{1,3}$")]], Field(min_length=1, max_length=20)
    ] = Field(
        title="layers of DDT",
        description="of ddt: LAYER@SIDE: submodules of the backbone, the leading one first, and the pixels of the"
        " images",
    )
    ddt_context: float = Field(
        ge=0,
        le=100,
        title="context of DDT",
        description="of ddt: exponent of the leading layer's map at the network's own input size; 0: none",
    )
    ten_crop: bool = Field(
        title="classify ten crops",
        description="classify by the mean of ten crops (corners, centre, mirrored) of the resized image",
    )
    batch_size: Images = Field(title="batch size", description="images per forward pass")

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

    standard: Literal["max", "percentile"] = Field(
        title="standard of the threshold",
        description="max (MaS: threshold is a fraction of the map's maximum) | percentile (PaS)",
    )
    percentile: float = Field(ge=0, le=100, title="percentile", description="of PaS; not read when standard is max")
    refine: Literal["none", "crf"] = Field(
        title="refinement of the map",
        description="none | crf: the dense CRF's probability of the foreground, with the map as unary, takes its "
        "place; needs the package pydensecrf2",
    )
    threshold: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = Field(
        title="threshold of the map (τ)",
        examples=["auto", 0.2, 0.35],
        description="auto: best GT-known localization on those images of val that have boxes; where none has, "
        "that of the paper: 0.2 of max, 0.35 of percentile | a number in [0, 1)",
    )

    @property
    def standard_percentile(self) -> float:
        """The percentile of the grey values that the threshold is a fraction of; 100: the maximum."""
        return 100.0 if self.standard == "max" else self.percentile


def _whole_percents(values: list[float]) -> list[float]:
    if len(set(values)) != len(values) or any(round(v * 100, 9) % 1 for v in values):
        raise ValueError("each criterion once, in whole percents such as 0.5")
    return values


class EvaluateParams(_Group):
    """From boxes and maps to metrics."""

    iou: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_whole_percents)] = (
        Field(
            title="IoU criteria",
            description="IoU criteria, in whole percents",
            examples=[percent / 100 for percent in range(10, 100, 5)],
        )
    )
    interval: float = Field(
        ge=1e-4,
        le=0.5,
        title="spacing of the thresholds",
        description="spacing of the thresholds tried, also by localize.threshold: auto",
    )


class TrackParams(_Group):
    """Where the run is recorded."""

    experiment: str = Field(
        pattern=r"^[/\w.\- ]+$",
        max_length=250,
        title="MLflow experiment",
        description="MLflow experiment the run is filed under",
    )


#: Accuracies that ``evaluate`` measures and that are a mean over images, so that runs can be compared image by image.
_PER_IMAGE = re.compile(r"gt_known_iou\d\d|top[15]_loc_iou50|cls_top[15]|mean_iou")
#: Those that are measured whatever ``evaluate.iou`` is, or by its default.
PROMOTABLE = ["gate.gt_known_iou50", "gate.top1_loc_iou50", "gate.top5_loc_iou50", "gate.mean_iou", "gate.cls_top1",
              "gate.cls_top5"]  # fmt: skip
_NOT_FOR_PROMOTION = {
    "val": "has chosen the threshold and the best of a sweep already",
    "test": "is only reported: of a champion that was chosen by it, nothing would tell how good it is",
}


def _promotable(metric: str) -> str:
    split, _, name = metric.partition(".")
    if not _PER_IMAGE.fullmatch(name):
        raise ValueError(
            f"{metric!r} is not an accuracy that is measured for each image; name {', '.join(PROMOTABLE[:-1])} or "
            f"{PROMOTABLE[-1]}"
        )
    if reason := _NOT_FOR_PROMOTION.get(split):
        raise ValueError(f"{metric}: promotion cannot decide on {split}, which {reason}; name gate.{name}")
    if split != "gate":
        raise ValueError(f"{metric}: promotion decides on the split gate; name gate.{name}")
    return metric


_Promotable = Annotated[str, Field(max_length=60), AfterValidator(_promotable)]


class PromoteParams(_Group):
    """When a run takes the champion's place."""

    metric: _Promotable = Field(
        title="metric to raise",
        description="must rise for a run to become champion: gate.NAME of a mean over images",
        examples=PROMOTABLE,
    )
    min_gain: float = Field(
        ge=0,
        le=100,
        title="smallest gain",
        description="by how much, in points of percent, and beyond chance: see docs/promotion.md",
    )
    guards: Annotated[list[_Promotable], Field(max_length=20)] = Field(
        title="guards", description="must not fall", examples=PROMOTABLE
    )
    tolerance: float = Field(
        ge=0,
        le=100,
        title="tolerance of the guards",
        description="by how much a guard may fall all the same, in points of percent",
    )
    floor: float = Field(
        ge=0,
        le=100,
        title="floor of the guards",
        description="what each guard must reach, also without a champion, in percent",
    )


class Params(_Group):
    """All of ``params.yaml``."""

    seed: int = Field(
        ge=0,
        lt=2**63,
        title="seed of training",
        description="of training: initial weights, order of images, augmentation",
    )
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

    def refuse_several_labels(self) -> None:
        """Refuse what makes no sense where an image may have several labels.

        Raises:
            ParamsError: with all of it and the reasons.
        """
        asked = [self.promote.metric, *self.promote.guards]
        of_one = [metric for metric in asked if metric.startswith(("gate.top", "gate.cls_top"))]
        reasons = {
            "train.head: acol hides what it finds of the one true class from its second branch; of several it would "
            "hide other objects": self.train.head == "acol",
            "train.erasing: ae erases the region of the one true class; of several it would erase other "
            "objects": self.train.erasing == "ae",
            "extract_cams.method: ddt knows no classes: all classes of an image would have the same "
            "map": self.extract_cams.method == "ddt",
            f"promote: {', '.join(of_one)} is about the one class of an image; name gate.gt_known_iou50, "
            "gate.gt_known_iou30 or gate.mean_iou": bool(of_one),
        }
        if found := [f"  {reason}." for reason, refused in reasons.items() if refused]:
            raise ParamsError(
                f"prepare.dataset {self.prepare.dataset} has images with several labels, and these settings are for "
                "one:\n" + "\n".join(found) + "\nNothing was run or changed."
            )

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
