"""`python -m restore.train -opt FILE`, as BasicSR's users and torchrun type it: `restore train`."""

import sys

from restore.commands.tree import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("train", sys.argv[1:], prog="python -m restore.train"))
