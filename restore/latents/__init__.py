"""Latent spaces of the prior: generate, invert, edit, cross, stylise."""
