"""`python -m restore`: the command line."""

import sys

from restore.cli import main

if __name__ == "__main__":
    sys.exit(main())
