"""What boxes refer to: an image as it is stored or as it is shown, or the same image in another size."""

from dataclasses import dataclass

from pipeline.data.orientation import UPRIGHT
from pipeline.data.source import Box
from pipeline.errors import DataError

#: Two sizes are the same image's where their aspects differ by less: sides are rounded when an image is scaled.
ASPECT = 0.01


@dataclass(frozen=True)
class View:
    """An image of ``width`` by ``height`` stored pixels, shown as its tag ``turned`` says."""

    width: int
    height: int
    turned: int = UPRIGHT

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as shown."""
        return (self.height, self.width) if self.turned >= 5 else (self.width, self.height)

    def from_frame(self, box: Box, frame: tuple[float, float] | None) -> Box:
        """A box in pixels of the image as shown.

        Args:
            frame: width and height that the box refers to; None where they are not stated.

        Raises:
            DataError: it cannot be told to what the box refers.
        """
        if frame is None or (self.turned != UPRIGHT and 1 not in frame):
            return self._of_pixels(box, frame)
        return self._scaled(box, frame, self.size)

    def _of_pixels(self, box: Box, frame: tuple[float, float] | None) -> Box:
        if self.turned == UPRIGHT:
            return box
        stored = (self.width, self.height)
        if frame is None or alike(stored, self.size) or not (alike(frame, stored) or alike(frame, self.size)):
            raise DataError(
                f"its orientation tag is {self.turned}, and it cannot be told whether its boxes refer to the image "
                "before or after it was turned: store the pixels upright, or state width and height beside the boxes"
            )
        if alike(frame, self.size):
            return self._scaled(box, frame, self.size)
        return self._turned(self._scaled(box, frame, stored))

    def _scaled(self, box: Box, frame: tuple[float, float], size: tuple[int, int]) -> Box:
        if frame != (1, 1) and not alike(frame, size):
            raise DataError(
                f"its boxes refer to an image of {frame[0]:g}×{frame[1]:g} pixels, and it has {size[0]}×{size[1]}"
            )
        x, y = size[0] / frame[0], size[1] / frame[1]
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y

    def _turned(self, box: Box) -> Box:
        """A box in stored pixels where the image as shown has it."""
        x0, y0, x1, y1 = box
        if self.turned >= 5:
            x0, y0, x1, y1 = y0, x0, y1, x1
        width, height = self.size
        if self.turned in (2, 3, 6, 7):
            x0, x1 = width - x1, width - x0
        if self.turned in (3, 4, 7, 8):
            y0, y1 = height - y1, height - y0
        return x0, y0, x1, y1


def alike(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two sizes have one aspect, so that one may be the other, scaled."""
    return abs(first[0] * second[1] - first[1] * second[0]) <= ASPECT * first[0] * second[1]
