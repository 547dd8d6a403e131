"""Images that may show several classes: a map, a box and a region for each of them."""
