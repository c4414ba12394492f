"""What makes the packaged weights and the sample photos; not in the wheel."""
