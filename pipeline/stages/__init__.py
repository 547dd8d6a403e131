"""One thin module per stage: read files, call the floor below, write files."""
