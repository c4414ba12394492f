"""Training of the restorer and of the prior."""
