"""The rows of the registry, one file a family: numbers, published results, preprocessing, weights."""
