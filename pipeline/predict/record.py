"""What is predicted of an image: one type, from which every output is made.

Boxes are ``xyxy`` in pixels of the stored image, floats, the right and lower ends excluded; an orientation tag is not
applied. The score of a box is the probability of its class times the mean of the normalised map inside it; both
factors are kept.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PredictedBox(_Part):
    """A box, its score, and the factor of it that the map gives."""

    xyxy: tuple[float, float, float, float]
    score: float
    map_mean: float


class ClassProbability(_Part):
    """A class and its probability in [0, 1]."""

    name: str
    probability: float


class Prediction(_Part):
    """What is predicted of an image; with ``error`` there is nothing else.

    Attributes:
        path: path or address of the image.
        width: of the stored image, in pixels.
        class_name: that the boxes are of: the predicted class, or the given label; ``class_index`` from 0.
        probability: of that class.
        top: the most probable classes, best first.
        threshold: τ, as a fraction of the map's standard value.
        steps: the largest box at every hundredth threshold from 0, where it changes: ``[100·τ, x0, y0, x1, y1]``.
        model: version of the model.
        error: why there is no prediction.
    """

    path: str
    width: int = 0
    height: int = 0
    class_name: str = ""
    class_index: int = -1
    probability: float = 0.0
    top: list[ClassProbability] = []
    boxes: list[PredictedBox] = []
    threshold: float = 0.0
    steps: list[Annotated[list[float], Field(min_length=5, max_length=5)]] = []
    label: str = ""
    model: str = ""
    error: str = ""

    @property
    def score(self) -> float:
        """Of the best box; 0 without boxes."""
        return max((box.score for box in self.boxes), default=0.0)
