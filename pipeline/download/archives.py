"""Where the archives of published data sets are, what they must be, and what their authors ask for."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file of a data set.

    Attributes:
        name: of the file, also below a mirror.
        address: where its authors offer it; empty where they ask for a login.
        size: in bytes; 0 where it is not published.
        digest: ``sha256:…`` or ``md5:…``; empty where none is published.
        into: folder of the data set that it is unpacked into.
        nested: it holds an archive for each class, whose name is that of the class.
    """

    name: str
    address: str = ""
    size: int = 0
    digest: str = ""
    into: str = "."
    nested: bool = False


@dataclass(frozen=True)
class Published:
    """A data set that :mod:`pipeline.data.sets` reads.

    Attributes:
        archives: unpacked in this order.
        root: what ``prepare.root`` is, below the folder that it is unpacked to.
        licence: in short, and where it stands.
        cite: the paper.
    """

    archives: tuple[Archive, ...]
    root: str
    licence: str
    cite: str


_CALTECH = "https://data.caltech.edu/records"
_PETS = "https://thor.robots.ox.ac.uk/~vgg/data/pets"

#: By the name of the data set, which is also the choice of ``prepare.dataset``. Sizes and digests are those that
#: torchvision and tensorflow-datasets check.
PUBLISHED: Mapping[str, Published] = {
    "cub": Published(
        (
            Archive(
                "CUB_200_2011.tgz", f"{_CALTECH}/65de6-vp158/files/CUB_200_2011.tgz?download=1", 1_150_585_339,
                "sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
            ),
            Archive(
                "segmentations.tgz", f"{_CALTECH}/w9d68-gec53/files/segmentations.tgz?download=1", 39_272_883,
                "sha256:dc77f6cffea0cbe2e41d4201115c8f29a6320ecb04fffd2444f51b8066e4b84f", into="CUB_200_2011",
            ),
        ),
        "CUB_200_2011",
        "images for non-commercial research: https://www.vision.caltech.edu/datasets/cub_200_2011",
        "Wah et al., The Caltech-UCSD Birds-200-2011 dataset, CNS-TR-2011-001",
    ),
    "pets": Published(
        (
            Archive(
                "images.tar.gz", f"{_PETS}/images.tar.gz", 791_918_971,
                "sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
            ),
            Archive(
                "annotations.tar.gz", f"{_PETS}/annotations.tar.gz", 19_173_078,
                "sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
            ),
        ),
        ".",
        "CC BY-SA 4.0: https://www.robots.ox.ac.uk/~vgg/data/pets",
        "Parkhi et al., Cats and dogs, CVPR 2012",
    ),
    "caltech256": Published(
        (
            Archive(
                "256_ObjectCategories.tar", f"{_CALTECH}/nyy15-4j048/files/256_ObjectCategories.tar?download=1",
                digest="md5:67b4f42ca05d46448c6bb8ecd2220f6d",
            ),
        ),
        "256_ObjectCategories",
        "see https://data.caltech.edu/records/nyy15-4j048",
        "Griffin et al., Caltech-256 object category dataset, CNS-TR-2007-001",
    ),
    "ilsvrc": Published(
        (
            Archive(
                "ILSVRC2012_img_train.tar", size=147_897_477_120, digest="md5:1d675b47d978889d74fa0da5fadfb00e",
                into="train", nested=True,
            ),
            Archive(
                "ILSVRC2012_img_val.tar", size=6_744_924_160, digest="md5:29b22e2961454d5413ddabcf34fc5622", into="val"
            ),
            Archive("ILSVRC2012_bbox_val_v3.tgz", into="bbox_val"),
        ),
        ".",
        "non-commercial research, after signing in and accepting the terms at https://image-net.org/download",
        "Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015",
    ),
}  # fmt: skip
