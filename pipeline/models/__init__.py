"""Classifiers for localization: backbones, heads, weights."""
