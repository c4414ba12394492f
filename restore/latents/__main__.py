"""`python -m restore.latents COMMAND`: work in the latent spaces of a face generator."""

from restore.latents.arguments import main

if __name__ == "__main__":
    raise SystemExit(main())
