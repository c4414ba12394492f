"""`python -m restore.degrade`: the door of the contact sheet. `restore.degrade` is a function."""

import sys

if __name__ != "__main__":
    # imported, this module would take the place of the function in the package
    raise ImportError(
        "restore.degrade is a function, not a module: write `import restore` and "
        "`restore.degrade(...)`, or run `python -m restore.degrade`"
    )

from restore.degrade_sheet import main

sys.exit(main())
