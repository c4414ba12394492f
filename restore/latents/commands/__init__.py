"""The commands of `python -m restore.latents`: one module each, its arguments and its run."""
