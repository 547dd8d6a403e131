"""Training the classifier."""
