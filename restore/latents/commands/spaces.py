"""`spaces`: the styles of a generator in order, and the statistics of its w."""

from __future__ import annotations

import argparse

from restore.latents.commands.arguments import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `spaces`."""
    add_model(parser)


def run(arguments: argparse.Namespace) -> str:
    """The table of S and a few numbers on w."""
    from restore.latents.codes import describe
    from restore.latents.generate import load_generator
    from restore.latents.spaces import measure_w

    generator = load_generator(arguments.model)
    known = measure_w(generator)
    share = known.axes.square().sum(1).cumsum(0) / known.covariance.diagonal().sum()
    parts = [f"{n} axes {float(share[n - 1]):.0%}" for n in (8, 32, 128) if n <= len(share)]
    return (
        f"{describe(generator)}\n\nW+ [n,{generator.num_styles},{generator.w_dim}], "
        f"S {sum(generator.style_sizes)} numbers, images to {generator.out_size} px. "
        f"w: standard deviation {known.std:.3f}, length of the mean "
        f"{float(known.mean.norm()):.2f}, variance in {', '.join(parts)}"
    )
