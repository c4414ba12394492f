"""The page of a run: one HTML file with every photo and face before and after, and its numbers."""
