"""Image and face metrics."""
