"""The walked examples of CONTRIBUTING.md are run as they stand there."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from restore.checkpoints.architectures import ARCHITECTURES
from restore.degradation.draws import Draws
from restore.degradation.resize import full_canvas
from restore.options.degradation import within

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")


def example(name: str) -> str:
    (code,) = re.findall(rf"<!-- {name} -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    return code


@pytest.fixture
def module(monkeypatch):
    made = ModuleType("contributed_example")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_add_an_architecture(module, monkeypatch, tmp_path):
    for name in list(ARCHITECTURES):  # what the example adds goes again
        monkeypatch.setitem(ARCHITECTURES, name, ARCHITECTURES[name])
    monkeypatch.setitem(ARCHITECTURES, "one_colour", None)
    names = vars(module)
    names |= {"MODULE": module.__name__, "PATH": tmp_path / "one.safetensors"}
    for part in ("architecture", "architecture-row", "architecture-use"):
        exec(example(part), names)
    from restore.runtime.select import load_runtime

    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    images, estimates = load_runtime(names["PATH"], "torch", "cpu").run(crops, 1.0)
    assert images.shape == crops.shape and estimates is None
    assert images.std((1, 2)).max() == 0


def test_add_a_degradation(module):
    names = vars(module)
    exec(example("degradation"), names)
    stage = SimpleNamespace(posterise_prob=0.5, posterise_range=(4.0, 16.0))
    assert list(within(2, 64)(stage.posterise_range)) == []
    draws = Draws(np.arange(8, dtype=np.uint64))
    effect = names["POSTERISE"]
    drawn = effect.draw(stage, draws, "first", np.ones(8))
    assert 0 < (drawn["levels"] == 0).sum() < 8
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    out = effect.apply(full_canvas(x), drawn).pixels
    for before, after, levels in zip(x.numpy(), out.numpy(), drawn["levels"], strict=True):
        steps = levels - 1
        expected = np.round(before * steps) / steps if levels else before
        np.testing.assert_allclose(after, expected, atol=1e-6)
    alone = effect.draw(stage, draws.take(np.array([5])), "first", np.ones(1))
    assert alone["levels"][0] == drawn["levels"][5]


def test_the_walk_names_fields_as_they_are_written():
    assert "posterise_range: Annotated[Range, within(2, 64)]" in TEXT
    source = (Path(__file__).parents[1] / "restore/options/degradation.py").read_text("utf-8")
    assert "mosaic_range: Annotated[Range, within(" in source
