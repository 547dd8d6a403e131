"""Weakly supervised object localization as a pipeline: image labels in, boxes out."""
