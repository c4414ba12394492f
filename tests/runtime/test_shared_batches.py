"""Requests of several threads in one batch: each gets its own answer, or its own error."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from restore.errors import InputError
from restore.runtime.torch_runtime import SharedBatches


class SlowNegative:
    """Negative of each crop times fidelity; the first batch waits until it is let go."""

    name, precision, crop_size, supports_fidelity = "fake", "float32", 8, True
    template = np.zeros((5, 2))

    def __init__(self):
        self.batches, self.first, self.go = [], threading.Event(), threading.Event()

    def run(self, crops, fidelity):
        self.batches.append(len(crops))
        if not self.first.is_set():
            self.first.set()
            assert self.go.wait(20)
        if (crops == 13).all((1, 2, 3)).any():
            raise RuntimeError("thirteen")
        out = np.rint((255 - crops) * fidelity[:, None, None, None]).astype(np.uint8)
        return out, np.repeat(fidelity[:, None], 6, 1)


def crop(value, n=1):
    return np.full((n, 8, 8, 3), value, np.uint8)


def test_what_waits_is_joined():
    runtime = SlowNegative()
    shared = SharedBatches(runtime, max_batch=8)
    with ThreadPoolExecutor(9) as pool:
        blocking = pool.submit(shared.run, crop(0), 1.0)
        assert runtime.first.wait(20)
        values = [1, 2, 13, 4, 5, 6, 7]
        futures = [pool.submit(shared.run, crop(v, 2), v / 10) for v in values[:2]]
        futures += [pool.submit(shared.run, crop(v), min(v / 10, 1.0)) for v in values[2:]]
        while len(shared._waiting) < len(values):
            pass
        runtime.go.set()
        assert (blocking.result()[0] == 255).all()
        for value, future in zip(values, futures, strict=True):
            if value == 13:
                with pytest.raises(RuntimeError, match="thirteen"):
                    future.result()
                continue
            image, estimates = future.result()
            assert len(image) == (2 if value < 3 else 1)
            assert (image == round((255 - value) * value / 10)).all()
            np.testing.assert_allclose(estimates, value / 10)
    assert max(runtime.batches) > 2
    assert max(runtime.batches) <= 8


def test_a_caller_alone_and_a_large_request():
    runtime = SlowNegative()
    runtime.go.set()
    shared = SharedBatches(runtime, max_batch=2)
    assert (shared.run(crop(3, 5), 1.0)[0] == 252).all()
    assert runtime.batches == [5]
    with pytest.raises(InputError, match="from 0"):
        shared.run(crop(3), 2.0)
