import numpy as np
from PIL import Image

from benchmarks.__main__ import BENCHMARKS, main


def test_pairs_stand_in_rows(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    files = []
    for i, colour in enumerate(colours):
        files.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (40, 20), colour).save(files[-1])
    out = tmp_path / "sheet.png"
    assert main(["pictures", *files, "-o", str(out), "--width", "20"]) == 0
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (20, 40, 3)
    assert tuple(sheet[5, 5]) == colours[0]
    assert tuple(sheet[5, 25]) == colours[1]
    assert tuple(sheet[15, 5]) == colours[2]


def test_a_missing_picture_is_named(tmp_path, capsys):
    assert main(["pictures", str(tmp_path / "no.png"), "-o", str(tmp_path / "x.png")]) == 2
    assert "no.png" in capsys.readouterr().err


def test_every_benchmark_of_the_table_is_there():
    from importlib import import_module

    for name in BENCHMARKS:
        assert callable(import_module(f"benchmarks.{name}").main)


def test_an_unknown_benchmark_lists_the_known_ones(capsys):
    assert main(["nothing"]) == 2
    assert "degradation" in capsys.readouterr().out
