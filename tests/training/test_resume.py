from functools import partial

import torch

from restore.commands.tree import run_verb
from restore.training.experiment import load_state
from tests.training.tiny import changed, restorer_options, write

main = partial(run_verb, "train")


def state_of(folder, name="tiny", step=4):
    return load_state(folder / "experiments" / name / "training_states" / f"{step}.state")


def assert_equal(a, b, path=""):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{path}[{index}]")
    elif not path.endswith("seconds"):
        assert a == b, path


def test_two_steps_and_two_more_are_bit_equal_to_four(tmp_path):
    options = restorer_options(tmp_path)
    file = write(tmp_path, options)
    assert main(["-opt", str(file)]) == 0
    whole = state_of(tmp_path)
    options = changed(options, {"name": "halves", "train__total_iter": 2})
    file = write(tmp_path, options)
    assert main(["-opt", str(file)]) == 0
    file = write(tmp_path, changed(options, {"train__total_iter": 4}))
    assert main(["-opt", str(file), "--auto_resume"]) == 0
    halves = state_of(tmp_path, "halves")
    for key in ("progress", "trained", "task", "random"):
        assert_equal(whole[key], halves[key], key)
    assert whole["progress"]["images"] == 8
