"""Makers of the weights and files that the package ships; not in the wheel."""
