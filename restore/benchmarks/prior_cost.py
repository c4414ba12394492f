"""What a picture of the prior costs at each size: torch, its heads, and onnxruntime beside it."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from restore.checkpoints.prior_heads_file import load_prior_heads
from restore.latents.generate import native_sizes, render
from restore.latents.spaces import Generator, z_of_seeds, z_to_w_plus
from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.runtime.graph import GraphBuilder
from restore.runtime.mobile_synthesis_graph import add_synthesis

if TYPE_CHECKING:
    import onnx


def cost_table(generator: Generator, threads: int, repeats: int = 2) -> str:
    """Seconds (wall and CPU) per image and the process's peak memory, sizes ascending."""
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, [1]))
    heads = load_prior_heads(generator)
    rows = []
    for size in native_sizes(generator, heads):
        cost = seconds_of(partial(render, generator, w_plus, size, heads), repeats)
        rows.append(f"{size:5d} px  {cost}")
    if isinstance(generator, MobileStyleGAN):
        size = generator.out_size
        session, feed = onnx_session(generator, w_plus, size, threads)
        rows.append(f"{size:5d} px  {seconds_of(lambda: session(feed), repeats)}  onnxruntime")
        off = np.abs(session(feed) - generator.synthesis(w_plus).numpy()).max()
        rows.append(f"onnxruntime differs from torch by at most {off:.1e}")
    return f"torch unless said, {threads} threads, memory is the peak so far\n" + "\n".join(rows)


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
    generator: MobileStyleGAN, w_plus: Tensor, size: int, threads: int
) -> tuple[Callable[[dict[str, np.ndarray]], np.ndarray], dict[str, np.ndarray]]:
    """A function that paints through onnxruntime, and what to feed it: codes [n,k,w_dim]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        synthesis_model(generator, size).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    feed = {"w_plus": w_plus.numpy(), "fidelity": np.ones(len(w_plus), np.float32)}
    return lambda fed: session.run(None, fed)[0], feed


def synthesis_model(generator: MobileStyleGAN, size: int) -> onnx.ModelProto:
    """The generator alone as a graph in memory: the restorer's own, without its conditions.

    Inputs `w_plus` [n,k,w_dim] and `fidelity` [n], which changes nothing; output `image`. `size`:
    the full one, or one that `generator.heads` has.
    """
    arrays = {f"decoder.{name}": value.numpy() for name, value in generator.state_dict().items()}
    tensors = {
        name: {"dtype": "F32", "shape": list(array.shape), "offset": 0}
        for name, array in arrays.items()
    }
    graph = GraphBuilder(tensors, "the generator", arrays.__getitem__, "fp32")
    channels = list(generator.channels.values())
    one = graph.unforeseen_one("fidelity")
    image = add_synthesis(graph, channels, size, "w_plus", {}, one)
    return graph.model(
        {"w_plus": ["n", generator.num_styles, generator.w_dim], "fidelity": ["n"]},
        {"image": (image, ["n", 3, size, size])},
    )
