"""Grad-CAM (Selvaraju et al., ICCV 2017, section 3): features weighted by their mean gradients."""

from torch import Tensor

from pipeline.cams.gradients import grad_cam
from pipeline.cams.method import GradientMethod


class Method(GradientMethod):
    """See :func:`pipeline.cams.gradients.grad_cam`."""

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """The paper's formula, without its ReLU."""
        return grad_cam(features, gradients)
