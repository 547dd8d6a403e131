"""JSON: COCO's dictionary of images, categories and annotations, or the list of tasks that Label Studio exports."""

from pathlib import Path
from typing import Annotated as Typed
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, Field

from pipeline.data.annotations.record import Annotated, Flaws, LabelledBox, content, from_size, parse
from pipeline.errors import DataError

Id = int | str
Numbers = Typed[list[float], Field(max_length=4)]


class _Image(BaseModel):
    id: Id
    file_name: str
    width: float | None = None
    height: float | None = None


class _Category(BaseModel):
    id: Id
    name: str


class _Annotation(BaseModel):
    image_id: Id
    category_id: Id | None = None
    bbox: Numbers = []
    iscrowd: int = 0


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = []


class _Value(BaseModel):
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0
    rectanglelabels: list[str] = []


class _Region(BaseModel):
    type: str
    value: dict[str, Any]


class _Answer(BaseModel):
    result: list[_Region]
    was_cancelled: bool = False


class _Task(BaseModel):
    data: dict[str, Any]
    annotations: list[_Answer] = []
    predictions: list[_Answer] = []


#: Where Label Studio serves the files of a folder from; the rest of the address is their path, quoted.
LOCAL_FILES = "/data/local-files/?d="


def read(path: Path, _name: str) -> dict[str, Annotated]:
    """Boxes by ``file_name`` of COCO, or by the image that a task of Label Studio names.

    Raises:
        DataError: it is neither; COCO's list of results names no image, and is refused too.
    """
    if content(path)[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return _label_studio(path)
    return _coco(path)


def _coco(path: Path) -> dict[str, Annotated]:
    """Boxes are ``[x, y, width, height]`` in pixels from 0; crowd regions are not of one object and left out."""
    tree: _Coco = parse(path, _Coco, "a COCO file of images, annotations and categories")
    names = {category.id: category.name for category in tree.categories}
    images = {image.id: image for image in tree.images}
    boxes: dict[Id, list[LabelledBox]] = {image.id: [] for image in tree.images}
    flaws = Flaws(path)
    for number, entry in enumerate(tree.annotations):
        with flaws.at(f"annotations.{number}"):
            if entry.image_id not in images:
                raise ValueError(f"image_id {entry.image_id!r} is not among the images")
            if entry.bbox and not entry.iscrowd:
                x, y, width, height = entry.bbox
                boxes[entry.image_id].append(
                    LabelledBox(from_size(x, y, width, height), names.get(entry.category_id or 0))
                )
    named: dict[str, Annotated] = {}
    for image in images.values():
        with flaws.at(f"image {image.id}"):
            if image.file_name in named:
                raise ValueError(f"{image.file_name} is the file of another image too")
            frame = (image.width, image.height) if image.width and image.height else None
            named[image.file_name] = Annotated(tuple(boxes[image.id]), frame)
    flaws.refuse()
    return named


def _label_studio(path: Path) -> dict[str, Annotated]:
    """Lengths are percents of the image as the browser shows it; a person's answer comes before a prediction."""
    tasks: list[_Task] = parse(path, list[_Task], "a JSON export of Label Studio, nor COCO with its images")
    named: dict[str, Annotated] = {}
    flaws = Flaws(path)
    for number, task in enumerate(tasks):
        with flaws.at(f"task {number}"):
            name = _task_image(task)
            people = [answer for answer in task.annotations if not answer.was_cancelled]
            regions = next((answer.result for answer in reversed(people or task.predictions)), [])
            boxes = tuple(_region(region) for region in regions if region.type == "rectanglelabels")
            if name in named:
                raise ValueError(f"{name} is the image of another task too")
            named[name] = Annotated(boxes, (1.0, 1.0), by_people=bool(people))
    flaws.refuse()
    return named


def _task_image(task: _Task) -> str:
    places = [value for value in task.data.values() if isinstance(value, str)]
    if not places:
        raise ValueError("data names no image")
    place = str(task.data.get("image", places[0]))
    return unquote(place.partition(LOCAL_FILES)[2] or place)


def _region(region: _Region) -> LabelledBox:
    value = _Value.model_validate(region.value)
    if value.rotation:
        raise DataError(
            f"a box is rotated by {value.rotation:g}°; boxes here are upright: draw it anew without rotation"
        )
    shares = (value.x / 100, value.y / 100, value.width / 100, value.height / 100)
    return LabelledBox(from_size(*shares), next(iter(value.rectanglelabels), None))
