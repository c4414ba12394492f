"""`restore.degrade`: the public function, and `python -m restore.degrade`, a contact sheet.

Importing a submodule binds it in its package, so once anything imports `restore.degrade`, that name
means this module and not the function of `restore.degradation.degrade` that `restore` hands
out before. So this module is callable: it is that function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _DegradeModule(ModuleType):
    """A module that passes calls on to `restore.degradation.degrade.degrade`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # on the first call: importing the module alone loads no torch
        from restore.degradation.degrade import degrade

        return degrade(*args, **kwargs)


sys.modules[__name__].__class__ = _DegradeModule
