"""Training data: stores, samplers, preparation."""
