"""`directions` and `edit` on the command line, with tiny generators."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from restore.commands.tree import run_verb
from restore.latents.codes import Codes, load_codes, save_codes
from restore.latents.directions import Direction, DirectionSet, load_directions, save_directions
from restore.latents.generate import load_generator, save_generator
from tests.latents.tiny import mobile

main = partial(run_verb, "latents")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_generator(path, mobile(), "tiny")
    return path


@pytest.fixture
def file(model, tmp_path):
    generator = load_generator(model)
    vector = torch.zeros(generator.num_styles, generator.w_dim)
    vector[2:5] = 0.5
    path = tmp_path / "mine.safetensors"
    both = (Direction("up", vector, "a unit"), Direction("down", -vector, "a unit"))
    save_directions(path, DirectionSet(both, generator.w_mean))
    return path


def pixels(path):
    return np.asarray(Image.open(path))


def test_edits_add_up_and_cancel(model, file, tmp_path, capsys):
    edit = ["edit", "--model", str(model), "--file", str(file), "--seed", "3", "--size", "32"]
    names = [tmp_path / f"{n}.png" for n in "abc"]
    assert main([*edit, "--direction", "up", "--strength", "0", "-o", str(names[0])]) == 0
    assert main([*edit, "--direction", "up", "--strength", "2", "-o", str(names[1])]) == 0
    assert (
        run_verb(
            "latents", [*edit, "--direction", "up", "down", "--strength", "2", "-o", str(names[2])]
        )
        == 0
    )
    assert not np.array_equal(pixels(names[0]), pixels(names[1]))
    difference = pixels(names[0]).astype(int) - pixels(names[2])
    assert np.abs(difference).max() <= 1
    wrong = ["--direction", "up", "down", "up", "--strength", "1", "2", "-o", str(names[0])]
    assert main([*edit, *wrong]) == 2
    assert "one strength for each" in capsys.readouterr().err


def test_codes_of_a_file_are_edited_and_kept(model, file, tmp_path):
    generator = load_generator(model)
    codes, moved = tmp_path / "face.safetensors", tmp_path / "moved.safetensors"
    w_plus = generator.w_mean.expand(1, generator.num_styles, -1).contiguous()
    save_codes(codes, Codes(w_plus), ["somebody"])
    edit = ["edit", "--model", str(model), "--file", str(file), "--code", str(codes)]
    edit += ["--direction", "up", "--strength", "2", "--size", "32", "--codes", str(moved)]
    assert main([*edit, "-o", str(tmp_path / "e.png")]) == 0
    found = load_codes(moved, generator).w_plus
    torch.testing.assert_close(found[:, 2:5], w_plus[:, 2:5] + 1, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[:, 5:], w_plus[:, 5:])


def test_listing_and_sheets(model, file, tmp_path, capsys):
    assert main(["directions", "list", "--file", str(file)]) == 0
    assert "strength 1 is a unit; rows of W+ 2 to 4" in capsys.readouterr().out
    sheet = ["directions", "sheet", "--model", str(model), "--file", str(file)]
    sheet += ["--seeds", "1", "2", "--size", "32", "-o", str(tmp_path / "sheets")]
    assert main([*sheet, "--direction", "up"]) == 0
    assert [p.name for p in (tmp_path / "sheets").iterdir()] == ["up.png"]
    assert main(["directions", "list"]) == 0  # the packaged ones
    assert "smile: serious to smiling" in capsys.readouterr().out
    assert (
        run_verb(
            "latents", ["directions", "sheet", "--model", str(model), "-o", str(tmp_path / "s")]
        )
        == 2
    )
    assert "python -m tools directions" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["sefa", "ganspace"])
def test_free_directions_are_written_with_sheets(part, model, tmp_path):
    folder = tmp_path / part
    words = ["directions", part, "--model", str(model), "--count", "2", "--levels", "8", "16"]
    assert main([*words, "--seeds", "1", "--size", "32", "-o", str(folder)]) == 0
    found = load_directions(folder / f"{part}.safetensors")
    assert len(found.names) == 2 and found.directions[0].rows == (1, 2, 3, 4, 5, 6)
    assert {p.stem for p in folder.glob("*.png")} == set(found.names)


def test_channels_are_told_and_drawn(model, tmp_path, capsys):
    words = ["directions", "channels", "--model", str(model), "--seeds", "1", "--size", "32"]
    assert main([*words, "--probes", "1", "--top", "2", "-o", str(tmp_path / "c")]) == 0
    table = (tmp_path / "c/channels.md").read_text("utf-8")
    assert "| background |" in table and table in capsys.readouterr().out
    assert (tmp_path / "c/channels.png").stat().st_size > 0


def test_what_is_missing_is_named(model, tmp_path, capsys):
    out = ["-o", str(tmp_path / "d.safetensors")]
    boundary = ["directions", "boundary", "--model", str(model), "--without", str(tmp_path / "a")]
    for words, says in (
        (["directions", "sheet", "--file", str(model), "-o", "x"], "holds no directions"),
        ([*boundary, "--with", str(tmp_path / "b"), "--name", "x", *out], "is no folder"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert says in error and error.startswith("restore: error: ") and error.count("\n") == 1
