"""The commands on a tiny generator: what they write, and one line for what is wrong."""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.checkpoints.model_file import save_model_file
from restore.commands.tree import run_verb
from restore.images.contact_sheet import GAP
from restore.latents.arguments import add_latent_commands
from restore.latents.codes import Codes, load_codes, save_codes
from restore.latents.generate import generate_faces, load_generator
from restore.latents.spaces import z_of_seeds, z_to_w_plus
from tests.latents.tiny import MOBILE_ARGUMENTS, mobile, stylegan2

main = partial(run_verb, "latents")


COMMANDS = {"sample", "spaces", "mix", "strip", "film", "invert", "cross", "children", "imagine"}
COMMANDS |= {"edit", "directions", "stylise"}
PHOTO = Path(__file__).resolve().parents[2] / "samples/cut_out.png"  # a generated face


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    header = {"architecture": "mobile_stylegan", "arguments": MOBILE_ARGUMENTS}
    save_model_file(path, mobile(), header, torch.float32)
    return path


@pytest.fixture
def run(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(command, *words):
        code = main([command, *map(str, words), "--model", str(model)])
        return code, capsys.readouterr()

    return call


def test_the_overview_names_every_command(capsys):
    for words, code in ((["--help"], 0), (["nonsense"], 2), ([], 2)):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == code
    said = capsys.readouterr()
    told = {line.split()[0] for line in said.out.splitlines() if line.startswith("    ")}
    assert told >= COMMANDS
    assert "invalid choice: 'nonsense'" in said.err and "required: COMMAND" in said.err


def test_commands_hang_below_any_parser(tmp_path, capsys):
    parser = argparse.ArgumentParser("restore latents")
    add_latent_commands(parser.add_subparsers())
    words = ["directions", "sheet", "-o", str(tmp_path)]
    assert parser.parse_args(words).seeds == [1, 4, 12]
    assert parser.parse_args(["directions", "list"]).run(argparse.Namespace(file=None)) == 0
    assert "smile: serious to smiling" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parser.parse_args(["film", "--help"])
    assert "usage: restore latents film" in capsys.readouterr().out


def test_the_command_line_imports_no_torch():
    code = (
        "import sys, restore.latents.arguments; print({'torch', 'cv2', 'numpy'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0 and "usage: restore latents" in capsys.readouterr().out


def test_spaces_are_described(run):
    code, said = run("spaces")
    assert code == 0 and "| 4.conv_4 | 4 | 0 | 32 |" in said.out and "W+ [n,11,16]" in said.out


def test_mixing_draws_a_grid(run, tmp_path):
    words = ("--faces", 1, 2, 3, "--styles", 4, 5, "--levels", 16, 32, "--size", 32)
    assert run("mix", *words)[0] == 0
    with Image.open(tmp_path / "mix.png") as sheet:
        assert sheet.width == 4 * (32 + GAP) + GAP
    code, said = run("mix", "--faces", 1, "--styles", 4, "--levels", 7)
    assert code == 2 and "levels [7]: this generator has [4, 8, 16, 32] px" in said.err


def test_a_strip_begins_and_ends_with_its_faces(run, model, tmp_path):
    assert run("strip", 3, 8, "--space", "both", "--pictures", 3, "--size", 64)[0] == 0
    sheet = np.asarray(Image.open(tmp_path / "strip.png"))
    faces = list(generate_faces(load_generator(model), [3, 8], 0.7, 64))
    for row in (0, 1):
        top = GAP + row * (len(sheet) - GAP) // 2
        for place, face in ((0, faces[0]), (2, faces[1])):
            left = GAP + place * (64 + GAP)
            seen = sheet[top : top + 64, left : left + 64].astype(int)
            assert np.abs(seen - face).max() <= 1
    code, said = run("strip", 3, "x.safetensors", "--space", "z")
    assert code == 2 and "'x.safetensors' is no face" in said.err


def test_films_of_both_kinds(run, tmp_path):
    words = ("--frames", 2, "--size", 32, "--quiet")
    code, said = run("film", 1, 2, 3, *words, "-o", tmp_path / "frames")
    assert code == 0 and "6 frames" in said.out
    assert len(list((tmp_path / "frames").iterdir())) == 6
    pytest.importorskip("imageio_ffmpeg")
    code, said = run("film", 1, 2, *words, "--space", "z", "--once", "-o", tmp_path / "a.mp4")
    assert code == 0 and "3 frames" in said.out and (tmp_path / "a.mp4").stat().st_size > 500


def test_a_photo_is_inverted_edited_and_tuned(run, model, tmp_path):
    photo = Image.open(PHOTO).convert("RGB")
    photo.save("photo.png")
    photo.rotate(90).save("edit.png")
    Image.new("L", photo.size, 255).save("mask.png")
    words = ("--steps", 6, "--size", 32, "--quiet", "--space", "s", "--tune", 4)
    code, said = run("invert", "photo.png", *words, "--edit", "edit.png", "--edit-mask", "mask.png")
    assert code == 0, said.err
    assert "face.safetensors: s, 6 steps, PSNR" in said.out and "tuned generator" in said.out
    net = load_generator(model)
    assert load_codes("face.safetensors", net).styles is not None
    assert load_generator("face_tuned.safetensors").style_sizes == net.style_sizes
    with Image.open("face.png") as sheet:
        assert sheet.width == 4 * (32 + GAP) + GAP
    code, said = run("strip", "face.safetensors", 5, "--pictures", 2, "--size", 32)
    assert code == 0
    small = Image.new("L", (9, 9), 255)
    small.save("small.png")
    code, said = run("invert", "photo.png", *words, "--mask", "small.png")
    assert code == 2 and "small.png is 9 x 9 px; the mask must be as large as the photo" in said.err
    code, said = run("invert", "photo.png", "--edit", "edit.png", "--size", 32)
    assert code == 2 and "go together" in said.err
    Image.new("RGB", (64, 64), (9, 9, 9)).save("empty.png")
    code, said = run("invert", "empty.png", "--size", 32)
    assert code == 2 and "0 faces found" in said.err


def test_two_faces_are_crossed(run, tmp_path):
    code, said = run("cross", 3, 4, "--regions", "eyes", "skin", "--size", 32)
    assert code == 0 and "blend" in said.out
    words = ("--method", "search", "--steps", 3, "--quiet", "--size", 64)
    code, said = run("cross", 3, 4, *words, "--codes", "c.safetensors")
    assert code == 0 and Path("c.safetensors").is_file(), said.err
    code, said = run("cross", 3, 4, "--regions", "elbow", "--size", 32)
    assert code == 2 and "regions ['elbow']: expected some of eyes" in said.err
    code, said = run("cross", 3, 4, "--codes", "c.safetensors")
    assert code == 2 and "--method search" in said.err


def test_children_are_drawn_and_told_apart(run, model):
    words = ("--count", 2, "--size", 32, "--gene-faces", 1, "--quiet")
    code, said = run("children", 3, 4, *words, "--genes", "g.st", "--codes", "k.safetensors")
    assert code == 0, said.err
    assert all(f"| {child} | pose | " in said.out for child in (1, 2))
    assert len(load_codes("k.safetensors", load_generator(model))) == 2
    again = run("children", 3, 4, *words, "--genes", "g.st")[1].out
    assert again.splitlines()[1:9] == said.out.splitlines()[1:9]
    code, said = run("children", 3, 4, "--mutation", 3)
    assert code == 2 and "mutation 3.0: expected 0 to 1" in said.err


def test_imagined_faces_are_labelled_in_name_picture_and_file(run, tmp_path):
    Image.new("RGB", (8, 8), (150, 120, 110)).save("tiny.png")
    words = ("--aligned", "--count", 2, "--steps", 3, "--size", 64, "--quiet", "-o", "out")
    code, said = run("imagine", "tiny.png", *words)
    assert code == 0, said.err
    names = sorted(p.name for p in Path("out").glob("*.png"))
    assert names == ["tiny_imagined_1.png", "tiny_imagined_2.png", "tiny_imagined_sheet.png"]
    assert "IMAGINED - not the person" in said.out
    for name in names:
        with Image.open(Path("out") / name) as image:
            assert image.text["Title"] == "IMAGINED - not the person"
    words = ("--count", 2, "--steps", 1, "--size", 32, "--quiet", "-o", "found")
    code, said = run("imagine", PHOTO, *words, "--small", 16)
    assert code == 0 and len(list(Path("found").glob("cut_out_imagined_?.png"))) == 2, said.err
    code, said = run("imagine", PHOTO, *words)
    assert code == 2 and "cannot be degraded to 128 px" in said.err
    code, said = run("imagine", "tiny.png", "--aligned", "--count", 1)
    assert code == 2 and "one face alone would pass for the person" in said.err


def test_codes_of_another_generator_are_refused(run, tmp_path):
    net = stylegan2()
    save_codes("other.safetensors", Codes(z_to_w_plus(net, z_of_seeds(net, [1]))))
    code, said = run("strip", "other.safetensors", 1)
    assert code == 2 and said.err.count("\n") == 1 and "--model" in said.err
    code, said = run("strip", "other.safetensors:3", 1)
    assert code == 2 and "error: " in said.err
