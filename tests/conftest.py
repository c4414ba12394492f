"""Fixtures and marks for all tests: where the shared folder is, what is skipped and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("RESTORE_SHARED", ROOT.parent / "shared"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption(
        "--skipped-to", metavar="FILE", help="write what was skipped, for `pytest @FILE` elsewhere"
    )


def pytest_configure(config):
    if config.getoption("--skipped-to"):
        config.pluginmanager.register(_Skipped(Path(config.getoption("--skipped-to"))))


class _Skipped:
    """Writes the name of each test, or file of tests, that was skipped."""

    def __init__(self, path):
        self.path = path
        path.write_text("", "utf-8")

    def pytest_runtest_logreport(self, report):
        if report.skipped:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")

    pytest_collectreport = pytest_runtest_logreport


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "shared" in item.keywords and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no shared folder at {SHARED}"))
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))
        if "gpu" in item.keywords and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _fixed_seed():
    """Every test starts from the same global seed, for code of other packages that reads it."""
    try:
        import torch
    except ImportError:
        return
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no shared folder at {SHARED}")
    return SHARED
