"""`restore ui` from the command line: its options, and what is said where something is missing."""

import sys

import pytest

from restore.commands.tree import main, verb_parser
from restore.errors import MissingExtraError
from restore.ui.page import import_gradio


def test_its_flags_are_frozen():
    flags = {flag for action in verb_parser("ui")._actions for flag in action.option_strings}
    assert flags == {
        "-h", "--help", "--port", "--no-browser", "--model", "--device", "--backend", "--threads",
        "--detector", "--precision", "--identity-network", "--bg_upsampler", "--bg_tile",
        "--download",
    }  # fmt: skip


def test_gradio_that_is_missing_is_named_with_the_pip_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=r'pip install "restore\[ui\]"'):
        import_gradio()
    assert main(["ui"]) == 2
    assert "gradio" in capsys.readouterr().err
