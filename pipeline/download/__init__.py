"""Published data sets from their archives: fetched or taken from a folder, verified, unpacked."""
