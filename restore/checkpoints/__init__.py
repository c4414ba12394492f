"""Weights files: safe reading, architecture from keys and shapes, downloads, the prior's import."""
