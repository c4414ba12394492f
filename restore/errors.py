"""The errors of this library: each says what was found, what was expected and what to do."""


class RestoreError(Exception):
    """Base of every error that a user can cause and mend; printed by the CLI in one line."""


class InputError(RestoreError):
    """A photo, array, folder or argument is not what was expected."""


class CheckpointError(RestoreError):
    """A weights file is broken, refused or of an unknown kind."""


class OptionError(RestoreError):
    """An option file has problems; the message lists all of them."""


class DeviceError(RestoreError):
    """The device or backend that was asked for is not there."""


class MissingExtraError(RestoreError, ImportError):
    """A package is not installed; the message carries the pip line that brings it: that of an
    extra, or, where `extra` is None, that of the package itself."""

    def __init__(self, package: str, extra: str | None, purpose: str) -> None:
        wanted = package if extra is None else f'"restore[{extra}]"'
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install {wanted}"
        )
        self.package = package
        self.extra = extra


class CancelledError(RestoreError):
    """The caller's `cancel` said stop; nothing was written."""
