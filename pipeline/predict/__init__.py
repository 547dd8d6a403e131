"""Using a trained model: boxes for new images."""
