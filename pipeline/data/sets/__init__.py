"""One module for each data set that `prepare` reads."""
