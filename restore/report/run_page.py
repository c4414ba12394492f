"""The page of a run wired to it: what is told of its settings, and each photo as it is done."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from restore import __version__
from restore.errors import InputError
from restore.images.files import read_photo
from restore.pipeline.names import Job
from restore.pipeline.report import plain
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredPhoto
from restore.pipeline.run import RunOptions, Watch
from restore.report.page import ReportPage

_PACKAGES = ("numpy", "opencv-python", "pillow", "onnxruntime", "openvino", "torch")


def run_settings(restorer: Restorer, options: RunOptions, model: str) -> dict[str, str]:
    """Model, options and versions of a run, as a page shows them."""
    settings: dict[str, Any] = {
        "model": model,
        "network runs in": f"{restorer.runtime.name}, crops of {restorer.crop_size} px",
        "detector": type(restorer.detector).__name__,
    }
    settings |= _flat(plain(options))
    settings |= {"restore": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            settings[package] = version(package)
        except PackageNotFoundError:
            continue
    return {name: "default" if value is None else str(value) for name, value in settings.items()}


@contextmanager
def run_page(
    path: Path | None,
    restorer: Restorer,
    options: RunOptions,
    model: str,
    photos: int,
    go_on: bool = False,
) -> Iterator[Watch | None]:
    """Open the page of a run and give what `run_jobs` calls; None where `path` is None."""
    if path is None:
        yield None
        return
    with ReportPage(path, run_settings(restorer, options, model), photos, go_on) as page:
        yield page_watch(page)


def page_watch(page: ReportPage) -> Watch:
    """A callback for `run_jobs` that puts each photo on the page."""

    def watch(job: Job, result: RestoredPhoto | None, record: Mapping[str, Any]) -> None:
        before = None
        if result is not None:
            try:
                # Read once more, so that a run without a page keeps no second copy.
                before = read_photo(job.source)
            except InputError:  # gone since; the page shows its numbers
                before = None
        page.add(record, before, result)

    return watch


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
