"""What a classifier says where an image may have several classes: a probability for each, not one distribution."""

import numpy as np
from numpy.typing import NDArray


def class_probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sigmoid of logits of any shape, in float64: the probability of each class where an image may have several."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64))))


def predicted_classes(logits: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which classes are predicted, ``(N, C)``: those at least as likely as not, and the likeliest in any case."""
    found = logits >= 0
    found[np.arange(len(logits)), logits.argmax(axis=1)] = True
    return np.asarray(found)
