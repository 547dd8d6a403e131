"""Running the stages: here, in a workspace, again, elsewhere."""
