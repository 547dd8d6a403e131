"""Data sets, their checks, and loading of images."""
