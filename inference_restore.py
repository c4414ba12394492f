"""`python inference_restore.py -i PHOTOS`: GFPGAN's way to call the command line of restore."""

import sys

from restore.commands.tree import main

if __name__ == "__main__":
    sys.exit(main())
