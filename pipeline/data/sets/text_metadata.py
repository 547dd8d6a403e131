"""Any data set by the text files of the field's benchmark (Choe et al., CVPR 2020).

``ROOT/metadata/{train,val,test}/{image_ids.txt, class_labels.txt}`` and, for val and test, ``localization.txt`` with
boxes (then ``image_sizes.txt`` too) or with masks. Paths of images and masks are relative to ``ROOT``. A split
without a folder is set aside from train. With the benchmark's own files this is CUB with CUBv2 as val, ILSVRC with
ImageNetV2 as val, and OpenImages30k with its instance masks and ignored regions.

``ROOT/classes.txt``, a name per line, names the classes; without it they are called by their numbers.
"""

from pathlib import Path

from pipeline.data.lists import read_lines
from pipeline.data.source import Sample, Source
from pipeline.data.text_lists import BoxTruth, MaskTruth, read_labels, read_text_boxes, read_text_masks
from pipeline.errors import DataError
from pipeline.params import PrepareParams

_SPLITS = ("train", "val", "gate", "test")


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` has lists of its training images."""
    missing = [name for name in ("image_ids.txt", "class_labels.txt") if not (root / "metadata/train" / name).is_file()]
    if missing:
        raise DataError(
            f"prepare.root: {root.absolute()}/metadata/train has no {', '.join(missing)}. Put the text files of each "
            "split into metadata/train, metadata/val and metadata/test below the folder of the images."
        )


def read_source(settings: PrepareParams, _folder: Path) -> Source:
    """Read the lists; images and masks are not opened.

    Raises:
        DataError: a line is malformed, an image lacks a line, or a label has no name.
    """
    root = Path(settings.root)
    check_layout(root)
    samples = []
    for split in _SPLITS:
        if (root / "metadata" / split).is_dir():
            samples += _samples(root, split)
    count = 1 + max(sample.labels[0] for sample in samples)
    return Source(root, _classes(root, count), samples)


def _classes(root: Path, count: int) -> tuple[str, ...]:
    path = root / "classes.txt"
    if not path.exists():
        return tuple(str(number) for number in range(count))
    names = tuple(line.strip() for _, line in read_lines(path))
    if len(names) < count or len(set(names)) < len(names):
        raise DataError(f"{path} names {len(set(names))} classes on {len(names)} lines; labels go up to {count - 1}.")
    return names


def _samples(root: Path, split: str) -> list[Sample]:
    folder = root / "metadata" / split
    truth = _truth(folder, root)
    samples = []
    for position, (name, label) in enumerate(read_labels(folder).items()):
        sample = Sample(name, name, split, (label,))
        if isinstance(truth, BoxTruth):
            boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in truth.of(position).tolist())
            width, height = truth.sizes[position].tolist()
            sample = Sample(name, name, split, (label,), boxes, frame=(width, height))
        elif truth is not None:
            sample = Sample(name, name, split, (label,), masks=truth.masks[position])
        samples.append(sample)
    return samples


def _truth(folder: Path, root: Path) -> BoxTruth | MaskTruth | None:
    """Boxes where images have sizes, else masks; None where there is neither, as for train."""
    if not (folder / "localization.txt").exists():
        return None
    if (folder / "image_sizes.txt").exists() and (folder / "image_sizes.txt").stat().st_size:
        return read_text_boxes(folder)
    return read_text_masks(folder, root)
