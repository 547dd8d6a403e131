"""Oxford-IIIT Pet in its official layout (Parkhi et al., "Cats and dogs", CVPR 2012).

``ROOT/{images/, annotations/{trainval.txt, test.txt, trimaps/}}``: ``images.tar.gz`` and ``annotations.tar.gz``
unpacked beside each other; a part of the breeds or images is fine as long as lists and files agree. A trimap has 1
for the animal, 2 for the background and 3 for the border between them, which is left out of PxAP. The true box is the
extent of animal and border, as fur is mostly border. The boxes in ``annotations/xmls`` are of heads, for some images
only: they are not read.
"""

from pathlib import Path

from pipeline.data.lists import read_lines
from pipeline.data.masks import Masks, MaskValues
from pipeline.data.source import Sample, Source
from pipeline.errors import DataError
from pipeline.params import PrepareParams

_PUBLISHED = {"train": 3680, "test": 3669}
_ANIMAL, _BORDER = 1, 3
_LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` looks like the data set."""
    missing = [name for name in (*_LISTS.values(), "annotations/trimaps", "images") if not (root / name).exists()]
    if missing:
        raise DataError(
            f"prepare.root: {root.absolute()} has no {', '.join(missing)}. It must be the folder in which "
            "images.tar.gz and annotations.tar.gz of https://www.robots.ox.ac.uk/~vgg/data/pets were unpacked."
        )


def read_source(settings: PrepareParams, _folder: Path) -> Source:
    """Read the lists; neither images nor trimaps are opened.

    Raises:
        DataError: a file is missing, a line is malformed, or a class has two names.
    """
    root = Path(settings.root)
    check_layout(root)
    stems: dict[str, tuple[str, int]] = {}
    for split, name in _LISTS.items():
        for stem, number in _stems(root / name):
            if stem in stems:
                raise DataError(f"{root / name}: {stem} occurs for the second time; an image belongs to one split.")
            stems[stem] = split, number
    breeds = _breeds(root, {stem: number for stem, (_, number) in stems.items()})
    index = {number: i for i, number in enumerate(breeds)}
    samples = [
        Sample(stem, f"images/{stem}.jpg", split, (index[number],), masks=Masks((f"annotations/trimaps/{stem}.png",)))
        for stem, (split, number) in stems.items()
    ]
    values = MaskValues((_ANIMAL,), (_BORDER,))
    return Source(
        root, tuple(breeds.values()), samples, mask_values=values, boxes_from_masks=True, published=_PUBLISHED
    )


def _stems(path: Path) -> list[tuple[str, int]]:
    """Stem of the image and number of its class, of each line ``STEM CLASS SPECIES BREED``."""
    found = []
    for number, line in read_lines(path):
        fields = line.split()
        if line.startswith("#"):
            continue
        if len(fields) != 4 or not fields[1].isdecimal():
            raise DataError(f"{path}:{number}: expected STEM CLASS SPECIES BREED, found {line!r}.")
        found.append((fields[0], int(fields[1])))
    return found


def _breeds(root: Path, numbers: dict[str, int]) -> dict[int, str]:
    """Name of each class by its number, in their order; it is what precedes the number in a stem."""
    names: dict[int, str] = {}
    for stem, number in numbers.items():
        name = stem.rpartition("_")[0] or stem
        if names.setdefault(number, name) != name:
            raise DataError(f"{root / 'annotations'}: class {number} is {names[number]} and, by {stem}, {name}.")
    return dict(sorted(names.items()))
