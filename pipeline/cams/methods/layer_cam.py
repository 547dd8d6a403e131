"""LayerCAM (Jiang et al., IEEE TIP 2021, section III): features times positive gradients, position by position."""

from torch import Tensor

from pipeline.cams.gradients import layer_cam
from pipeline.cams.method import GradientMethod


class Method(GradientMethod):
    """See :func:`pipeline.cams.gradients.layer_cam`."""

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """The paper's formula, without its ReLU."""
        return layer_cam(features, gradients)
