"""What the files between stages must hold: checked whenever one is read, so that a foreign file is named at once."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Levels of grey that `boxes/` holds a box for.
LEVELS = 256


class Facts(BaseModel):
    """The content of a JSON file: nothing may be missing or of another type; what is not named here is kept."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, extra="allow")


class MaskValueFacts(Facts):
    """What the values in mask files mean: see ``pipeline.data.masks``."""

    objects: list[int] = Field(default_factory=list)
    ignored: list[int] = Field(default_factory=list)
    classes: list[int] = Field(default_factory=list)


class DatasetFacts(Facts):
    """``data/prepared/dataset.json``."""

    classes: list[str]
    root: str
    content_hash: str
    images: dict[str, int]
    equal_images: dict[str, Any] = Field(default_factory=dict)
    upright: bool = False
    mask_values: MaskValueFacts = Field(default_factory=MaskValueFacts)
    several_labels: bool = False


class Threshold(Facts):
    """``boxes/threshold.json``."""

    threshold: float = Field(ge=0, lt=1)
    threshold_source: Literal["val", "paper", "fixed"]
    threshold_images: int = Field(default=0, ge=0)
    #: Of the masks of labels, where images may have several.
    mask_threshold: float | None = Field(default=None, ge=0, lt=1)


def origin(facts: Mapping[str, Any]) -> str:
    """Where a :class:`Threshold` is from, in words that follow its number."""
    match facts["threshold_source"]:
        case "fixed":
            return "from localize.threshold"
        case "paper":
            return "that of the method's paper, as no image of val has boxes"
    count = facts.get("threshold_images")
    return f"chosen on {count} images of val" if count else "chosen on val"


class Metrics(Threshold):
    """``metrics/metrics.json``: the threshold, and the numbers of each split."""

    __pydantic_extra__: dict[str, dict[str, float]]

    @model_validator(mode="after")
    def _has_splits(self) -> "Metrics":
        if missing := {"val", "test"} - (self.__pydantic_extra__ or {}).keys():
            raise ValueError(f"no numbers of {' and '.join(sorted(missing))}")
        return self


class ReliabilityRow(Facts):
    """A row of a split in ``metrics/reliability.json``: see :mod:`pipeline.evaluation.reliability`."""

    low: float
    high: float
    boxes: int = Field(ge=1)
    score: float
    iou50: float
    iou50_low: float
    iou50_high: float
    top1_iou50: float
    top1_iou50_low: float
    top1_iou50_high: float


def parse_json(content: bytes, schema: Any) -> Any:
    """The content of a JSON file as a schema (a model or any type) has it.

    Raises:
        ValueError: it has not; with the first thing that is wrong.
    """
    try:
        return TypeAdapter(schema).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


#: Kinds of the columns of a table; those with a question mark may be null.
Kind = Literal["text", "text?", "integer", "number", "number?", "texts", "integers", "numbers", "boxes"]
MANIFEST: Mapping[str, Kind] = {
    "image_id": "text", "path": "text", "split": "text", "labels": "integers", "width": "integer", "height": "integer",
    "boxes": "boxes", "masks": "texts", "ignore_mask": "text?", "part_mask": "text?",
}  # fmt: skip
#: What it has besides where an image may have several labels.
OF_SEVERAL: Mapping[str, Kind] = {"box_labels": "integers", "uncertain": "integers"}
PREDICTIONS: Mapping[str, Kind] = {
    "image_id": "text", "split": "text", "predicted": "text", "score": "number", "box": "numbers",
}  # fmt: skip
PER_IMAGE: Mapping[str, Kind] = {
    "image_id": "text", "split": "text", "label": "integer", "top5": "integers", "box": "numbers", "iou": "number?",
}  # fmt: skip


def parse_table(content: bytes, columns: Mapping[str, Kind]) -> "pd.DataFrame":
    """The content of a parquet file with at least these columns.

    Raises:
        ValueError: a column is missing, or holds something else.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(pa.BufferReader(content))
    for name, kind in columns.items():
        if name not in table.column_names:
            raise ValueError(f"it has no column {name}")
        if problem := _problem(table.column(name), kind):
            raise ValueError(f"column {name}: {problem}")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _problem(column: "pa.ChunkedArray", kind: Kind) -> str:
    """What keeps a column from being of a kind; empty where it is."""
    types: Mapping[str, Callable[[pa.DataType], bool]] = {
        "text": _is_text, "integer": _is_integer, "number": _is_number,
        "texts": lambda one: _is_list(one, _is_text),
        "integers": lambda one: _is_list(one, _is_integer),
        "numbers": lambda one: _is_list(one, _is_number),
        "boxes": lambda one: _is_list(one, lambda inner: _is_list(inner, _is_number)),
    }  # fmt: skip
    optional = kind.endswith("?")
    if not types[kind.removesuffix("?")](column.type) and not (_is_null(column.type) and (optional or not len(column))):
        return f"expected {kind.removesuffix('?')}, found {column.type}"
    if column.null_count and not optional:
        return f"{column.null_count} values are missing"
    if kind == "boxes" and not _are_boxes(column):
        return "expected boxes of four finite numbers"
    return ""


def _is_null(kind: "pa.DataType") -> bool:
    return str(kind) == "null"


def _is_text(kind: "pa.DataType") -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _is_integer(kind: "pa.DataType") -> bool:
    return str(kind).lstrip("u").startswith("int")


def _is_number(kind: "pa.DataType") -> bool:
    return _is_integer(kind) or str(kind) in ("float", "double", "halffloat")


def _is_list(kind: "pa.DataType", inner: "Callable[[pa.DataType], bool]") -> bool:
    """Lists that are all empty have values of no type."""
    from pyarrow import types

    if not (types.is_list(kind) or types.is_large_list(kind)):
        return False
    return _is_null(kind.value_type) or inner(kind.value_type)


def _are_boxes(column: "pa.ChunkedArray") -> bool:
    from pyarrow import compute

    boxes = compute.list_flatten(column)
    if not len(boxes):
        return True
    values = compute.list_flatten(boxes)
    lengths = compute.list_value_length(boxes).to_numpy(zero_copy_only=False)
    return bool((lengths == 4).all() and not values.null_count and np.isfinite(values.to_numpy()).all())


def check_numbers(table: "pd.DataFrame", columns: tuple[str, ...]) -> "pd.DataFrame":
    """A table that has these columns, all of them numbers.

    Raises:
        ValueError: it has not.
    """
    for name in columns:
        if name not in table.columns:
            raise ValueError(f"it has no column {name}")
    for name in table.columns:
        if table[name].dtype.kind not in "iuf":
            raise ValueError(f"column {name} holds something else than numbers")
    return table


#: Arrays of a shard: the kinds of their type, and their shape after the first axis; None: any length. They share their
#: first axis, the images; that of arrays whose shape begins with "counts" holds as many rows of each image as
#: ``counts`` says.
Arrays = Mapping[str, tuple[str, tuple[int | str | None, ...]]]
CAM_SHARD: Arrays = {
    "image_ids": ("U", ()), "classes": ("iu", (2,)), "maps": ("f", (2, None, None)), "logits": ("f", (None,)),
}  # fmt: skip
#: Where an image may have several labels: a map for each class that it shows or is taken to show.
CLASS_CAM_SHARD: Arrays = {
    "image_ids": ("U", ()), "counts": ("iu", ()), "classes": ("iu", ("counts",)), "logits": ("f", (None,)),
    "maps": ("f", ("counts", None, None)),
}  # fmt: skip
CLASS_BOX_SHARD: Arrays = {
    "image_ids": ("U", ()), "counts": ("iu", ()), "classes": ("iu", ("counts",)),
    "boxes": ("i", ("counts", LEVELS, 4)), "standards": ("iuf", ("counts",)),
}  # fmt: skip
BOX_SHARD: Arrays = {"image_ids": ("U", ()), "boxes": ("i", (LEVELS, 4)), "standards": ("iuf", ())}


def check_arrays(shard: Mapping[str, NDArray[Any]], arrays: Arrays) -> None:
    """Check a shard's arrays.

    Raises:
        ValueError: one is missing, of another type or shape, or holds NaN or infinity.
    """
    for name, (kinds, shape) in arrays.items():
        if name not in shard:
            raise ValueError(f"it has no array {name}")
        array = shard[name]
        images = len(shard["image_ids"]) if shard["image_ids"].ndim else 0
        expected = (int(shard["counts"].sum()), *shape[1:]) if "counts" in shape else (images, *shape)
        fits = array.ndim == len(expected) and all(e in (None, n) for e, n in zip(expected, array.shape, strict=True))
        if array.dtype.kind not in kinds or not fits:
            raise ValueError(f"array {name} is {array.dtype} of shape {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"array {name} holds NaN or infinity")
