"""Which files are the masks of an image, and what the values in them mean."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MaskValues:
    """Which stored values are the object's, and which belong to nobody.

    Attributes:
        objects: none of them: every value but zero. Choe et al., "Evaluating weakly supervised object localization
            methods right", CVPR 2020, compare the grey values 0 to 255 with 0.5, not with half of 255: masks may hold 1
            for the object, or the number of an instance.
        ignored: values of pixels that are left out of the score, such as a border.
        classes: of each class, in their order, where a file holds the objects of several.
    """

    objects: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Masks:
    """The files of one image.

    Attributes:
        files: its instances; the object is their union.
        ignored: pixels to leave out, where they have a file of their own; those of the object are never left out.
        part: the part of the object that tells its class, where that is known.
    """

    files: tuple[str, ...] = ()
    ignored: str | None = None
    part: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.files, *(path for path in (self.ignored, self.part) if path is not None))
