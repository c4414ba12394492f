"""What a picture of the prior costs at each size: torch, its heads, and onnxruntime beside it."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from torch import Tensor

from restore.checkpoints.prior_heads_file import load_prior_heads
from restore.latents.face_pack import openvino_painter
from restore.latents.generate import native_sizes, render
from restore.latents.spaces import Generator, z_of_seeds, z_to_w_plus
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.runtime.prior_graph import prior_model


def cost_table(generator: Generator, threads: int, repeats: int = 2) -> str:
    """Seconds (wall and CPU) per image and the process's peak memory, sizes ascending."""
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, [1]))
    heads = load_prior_heads(generator)
    rows = []
    for size in native_sizes(generator, heads):
        paint = partial(render, generator, w_plus, size, heads)
        rows.append(f"{size:5d} px  {seconds_of(paint, repeats)}  torch")
        if isinstance(generator, MobileStyleGAN):
            session, feed = onnx_session(generator, w_plus, size, threads, heads)
            cost = seconds_of(partial(session, feed), repeats)
            # `render` clamps, the graph does not
            off = np.abs(session(feed).clip(-1, 1) - paint().numpy()).max()
            rows.append(f"{size:5d} px  {cost}  onnxruntime, off by at most {off:.1e}")
        faster, name = openvino_painter(generator, size, heads)
        if faster is not None:
            cost = seconds_of(partial(faster, w_plus), repeats)
            error = float((faster(w_plus) - paint()).square().mean())
            rows.append(f"{size:5d} px  {cost}  {name}, {10 * np.log10(4 / error):.1f} dB")
    return f"{threads} threads, memory is the peak so far\n" + "\n".join(rows)


def seconds_of(work: Callable[[], object], repeats: int) -> str:
    """Mean time of `work` after one call that does not count."""
    work()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    seconds = (time.perf_counter() - wall) / repeats
    cpu_seconds = (time.process_time() - cpu) / repeats
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{seconds:.3f} s wall  {cpu_seconds:.3f} s CPU  {peak:.0f} MB"


def onnx_session(
    generator: MobileStyleGAN,
    w_plus: Tensor,
    size: int,
    threads: int,
    heads: PriorHeads | None = None,
) -> tuple[Callable[[dict[str, np.ndarray]], np.ndarray], dict[str, np.ndarray]]:
    """A function that paints through onnxruntime, and what to feed it: codes [n,k,w_dim]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        prior_model(generator, size, heads).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    feed = {"w_plus": w_plus.numpy(), "fidelity": np.ones(len(w_plus), np.float32)}
    return lambda fed: session.run(None, fed)[0], feed
