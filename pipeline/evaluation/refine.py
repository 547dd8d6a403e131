"""Dense CRF: a score map drawn towards the edges of its image. Needs the optional package ``pydensecrf2``."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CrfSettings:
    """Weights and widths of the two pairwise terms; the defaults are those of pydensecrf's documentation.

    Attributes:
        iterations: of mean-field inference.
        smoothness: weight of the term that knows positions only.
        smoothness_width: its standard deviation in pixels.
        appearance: weight of the term that knows positions and colours.
        appearance_width: its standard deviation in pixels.
        colour_width: its standard deviation in colour values, 0–255.
    """

    iterations: int = 5
    smoothness: float = 3.0
    smoothness_width: float = 3.0
    appearance: float = 10.0
    appearance_width: float = 80.0
    colour_width: float = 13.0


MISSING = (
    "the dense CRF needs the package pydensecrf2, which the set-up leaves out as it is compiled: "
    "`.venv/bin/uv pip install pydensecrf2`, with a C++ compiler; or do without it."
)
#: Keeps the unary finite where the map is 0 or 1.
_CERTAIN = 1e-4


def is_installed() -> bool:
    """Whether the package is there."""
    return find_spec("pydensecrf") is not None


def refine(
    score_map: NDArray[np.floating], image: NDArray[np.uint8], settings: CrfSettings | None = None
) -> NDArray[np.float64]:
    """Foreground probability of each pixel; it takes the place of the map before thresholding.

    Krähenbühl & Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials", NIPS 2011. The
    map is the unary: the probability of foreground before its pixels' neighbours are asked.

    Args:
        score_map: ``(H, W)`` in [0, 1], min-max normalised.
        image: ``(H, W, 3)`` uint8, of the map's size.
        settings: the default is ``CrfSettings()``.

    Returns:
        ``(H, W)`` in [0, 1].

    Raises:
        ImportError: the package is not installed.
        ValueError: shapes do not fit, or a score is NaN or outside [0, 1].
    """
    if image.shape != (*score_map.shape, 3) or image.dtype != np.uint8:
        raise ValueError(f"expected a uint8 image of shape {(*score_map.shape, 3)}, found {image.dtype} {image.shape}")
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise ValueError(f"score map must lie in [0, 1], found {score_map.min()} … {score_map.max()}")
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError:
        raise ImportError(MISSING) from None
    settings = settings or CrfSettings()
    height, width = score_map.shape
    foreground = np.clip(score_map, _CERTAIN, 1 - _CERTAIN)
    crf = DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(-np.log([1 - foreground, foreground]).reshape(2, -1).astype(np.float32))
    crf.addPairwiseGaussian(sxy=settings.smoothness_width, compat=settings.smoothness)
    crf.addPairwiseBilateral(
        sxy=settings.appearance_width,
        srgb=settings.colour_width,
        rgbim=np.ascontiguousarray(image),
        compat=settings.appearance,
    )
    probabilities = np.asarray(crf.inference(settings.iterations), np.float64)
    return np.asarray(np.clip(probabilities[1].reshape(height, width), 0, 1))
