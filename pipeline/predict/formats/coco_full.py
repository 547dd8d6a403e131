"""The full COCO file of images, categories and annotations, as CVAT's "COCO 1.0" and most detectors import it.

Boxes are ``[x, y, width, height]`` in pixels; ids count from 1, as CVAT fails on 0. The score of a box is an attribute.
"""

from collections.abc import Sequence
from pathlib import Path

from pipeline.files import write_json
from pipeline.predict.formats.annotation import Images
from pipeline.predict.formats.coco import entries

FILE = "coco.json"


def write(folder: Path, images: Images, classes: Sequence[str], model: str) -> None:
    """Write ``coco.json``."""
    annotations = []
    for number, (image, entry) in enumerate(entries(images, classes), start=1):
        area = entry["bbox"][2] * entry["bbox"][3]
        extra = {"id": number, "image_id": image, "area": round(area, 2), "iscrowd": 0, "segmentation": []}
        annotations.append(entry | extra | {"attributes": {"score": entry["score"]}})
    listed = [{"id": number, "file_name": image.path, "width": image.width, "height": image.height}
              for number, image in enumerate(images(), start=1)]  # fmt: skip
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, start=1)]
    info = {"description": f"predictions of model {model}"}
    tree = {"info": info, "licenses": [], "images": listed, "categories": categories, "annotations": annotations}
    write_json(folder / FILE, tree)
