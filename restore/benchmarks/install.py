"""A fresh light install: seconds and megabytes, in a new virtual environment."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def folder_megabytes(folder: Path) -> float:
    """Size of all files below a folder in MB (10^6 bytes); links are not followed."""
    sizes = (p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sum(sizes) / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Install the checkout (or a named requirement) and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m restore.benchmarks install")
    parser.add_argument("--requirement", default=str(ROOT), help="default: this checkout")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        empty = folder_megabytes(Path(folder))
        python = str(Path(folder) / "bin" / "python")
        start = time.perf_counter()
        command = [python, "-m", "pip", "install", "--quiet", arguments.requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            print(f"the install failed:\n{done.stderr[-2000:]}", file=sys.stderr)
            return 1
        size = folder_megabytes(Path(folder)) - empty
        listed = [python, "-m", "pip", "list", "--format=freeze"]
        packages = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    print(f"light install: {seconds:.0f} s, {size:.0f} MB, {len(packages)} packages")
    print(f"with torch: {any(p.lower().startswith('torch==') for p in packages)}")
    return 0
