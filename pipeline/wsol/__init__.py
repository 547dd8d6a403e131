"""The pure core: arrays in, arrays out. No files, no parameters object, no globals."""
