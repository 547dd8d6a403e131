"""The standalone `score` command: maps from anywhere, scored by the field's protocol."""
