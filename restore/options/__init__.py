"""Option files as frozen dataclasses; no torch here."""
