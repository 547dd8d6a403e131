"""``metadata.jsonl`` beside images, as Hugging Face's ``imagefolder`` has it: an object for each image.

``{"file_name": …, "objects": {"bbox": [[x, y, width, height], …], "categories": […]}}``, in pixels; ``category`` and
``label`` are read as ``categories`` is, where they are texts.
"""

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from pipeline.data.annotations.record import Annotated, Flaws, LabelledBox, from_size
from pipeline.data.lists import read_lines
from pipeline.schemas import parse_json


class _Objects(BaseModel):
    bbox: list[list[float]] = []
    categories: list[Any] = Field(default=[], validation_alias=AliasChoices("categories", "category", "label"))


class _Row(BaseModel):
    file_name: str
    objects: _Objects = _Objects()


def read(path: Path, _name: str) -> dict[str, Annotated]:
    """Boxes by ``file_name``."""
    named: dict[str, Annotated] = {}
    flaws = Flaws(path)
    for line, text in read_lines(path):
        with flaws.at(f"line {line}"):
            row: _Row = parse_json(text.encode(), _Row)
            if row.file_name in named:
                raise ValueError(f"{row.file_name} occurs for the second time")
            labels = [label if isinstance(label, str) else None for label in row.objects.categories]
            labels += [None] * (len(row.objects.bbox) - len(labels))
            boxes = (LabelledBox(from_size(*box), label) for box, label in zip(row.objects.bbox, labels, strict=True))
            named[row.file_name] = Annotated(tuple(boxes))
    flaws.refuse()
    return named
