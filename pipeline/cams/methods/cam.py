"""Class activation maps: the features weighted as the classifier weights them (Zhou et al., CVPR 2016, section 2).

Without negative weights (``clamp_negative_weights``): Bae et al., "Rethinking class activation mapping for weakly
supervised object localization", ECCV 2020, section 3.2.
"""

from torch import Tensor

from pipeline.cams.method import FeatureMethod


class Method(FeatureMethod):
    """The head's own maps, of ACoL's branch or of both as ``acol_map`` says."""

    def from_features(self, features: Tensor, classes: Tensor) -> Tensor:
        """As the head computes them."""
        return self.network.head.class_maps(features, classes, self.settings.clamp_negative_weights)
