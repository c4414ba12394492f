"""`python -m restore.test -opt FILE`, as BasicSR's users and torchrun type it: `restore test`."""

import sys

from restore.commands.tree import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("test", sys.argv[1:], prog="python -m restore.test"))
