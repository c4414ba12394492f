"""Large sets of photos on a Ray cluster."""
