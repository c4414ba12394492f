"""`python -m restore`: the command line."""

import sys

from restore.commands.tree import main

if __name__ == "__main__":
    sys.exit(main())
