"""`python -m restore.test -opt FILE`: the validation of an option file, without training."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.errors import OptionError, RestoreError


def main(argv: Sequence[str] | None = None) -> int:
    """Measure path.pretrain_network_g on every validation set; 0, or 1 with a line on stderr."""
    parser = argparse.ArgumentParser("python -m restore.test", description=main.__doc__)
    parser.add_argument("-opt", required=True, help="option file")
    parser.add_argument("--launcher", default="none", choices=("none", "pytorch", "slurm"))
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="a:b=c")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        return test(arguments)
    except RestoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def test(arguments: argparse.Namespace) -> int:
    """Print a row per metric of the weights, and of the bad pictures beside them."""
    from restore.options.schema import load_options
    from restore.training.build_networks import build_generator, fill_network
    from restore.training.distributed import meet_ranks, start_ranks, stop_ranks
    from restore.training.validation import save_pictures, validate_set
    from restore.training.validators import open_sets, restorer_of, suites_of

    options = load_options(arguments.opt, arguments.force_yml)
    if options.is_prior or not options.val_sets:
        raise OptionError(
            f"{arguments.opt} has nothing to test: expected a restorer and a val or test set"
        )
    ranks = start_ranks(arguments.launcher, "cpu" if options.num_gpu == 0 else "auto")
    try:
        network = build_generator(options.network_g, options.plugins)
        path = options.path.pretrain_network_g
        if path is None:
            raise OptionError("path.pretrain_network_g: missing; which weights shall be tested?")
        strict = options.path.strict_load_g is not False
        fill_network(network, path, options.path.param_key_g, strict, "network_g")
        network = network.to(ranks.device).eval()
        restore, suites = restorer_of(network, options, ranks), suites_of(options, ranks)
        folder = Path("results") / options.name / "visualization"
        for one in open_sets(options, ranks):
            dials = options.val.fidelity
            values = validate_set(restore, one, suites, dials, ranks, baseline=True)
            if not ranks.first:
                continue
            for name, value in values.items():
                sys.stdout.write(f"{name}\t{value:.5g}\n")
            if options.val.save_img:
                path_of_grid = folder / f"{one.name}.png"
                save_pictures(restore, one, dials, options.val.num_images_saved, path_of_grid)
                sys.stdout.write(f"pictures\t{path_of_grid}\n")
        meet_ranks(ranks)
    finally:
        stop_ranks(ranks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
