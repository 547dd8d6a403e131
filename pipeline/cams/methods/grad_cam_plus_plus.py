"""Grad-CAM++ (Chattopadhay et al., WACV 2018, section 3): features weighted by positive gradients, by position."""

from torch import Tensor

from pipeline.cams.gradients import grad_cam_plus_plus
from pipeline.cams.method import GradientMethod


class Method(GradientMethod):
    """See :func:`pipeline.cams.gradients.grad_cam_plus_plus`."""

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """The paper's formula, without its ReLU."""
        return grad_cam_plus_plus(features, gradients)
