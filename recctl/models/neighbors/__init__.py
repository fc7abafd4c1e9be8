"""What the nearest-neighbor models share: the search of neighbors, similarities, and weights of features."""
