"""From an FFHQ-frame crop into the frame of an identity network, differentiably; cosines."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.geometry.similarity import similarity
from restore.geometry.template import FFHQ_512

_LUMA = (0.2989, 0.587, 0.114)  # GFPGAN's gray for its identity network


def align_to_network(
    image: Tensor, network: nn.Module, frame_to_crop: Tensor | None = None
) -> Tensor:
    """The face in the frame that an identity network wants: `[n,3|1,h,w]`, RGB or gray, [-1,1].

    `image` [n,3,s,s] RGB in [-1,1] is a crop in the FFHQ frame of size s; `frame_to_crop`
    [n,2,3] says where the frame's pixels really lie in each crop when that one is jittered.
    Shrinking is antialiased first, so that what the network sees has no moiré and all pixels of
    the crop get gradients. Half precision is sampled in float32.
    """
    if image.dtype in (torch.float16, torch.bfloat16):
        image = image.float()
    if network.gray:
        luma = image.new_tensor(_LUMA)[:, None, None]
        image = (image * luma).sum(1, keepdim=True)
    height, width = network.input_size  # type: ignore[misc]
    size = image.shape[-1]
    points = np.asarray(FFHQ_512) * (size / 512)
    to_crop = _homogeneous(similarity(np.asarray(network.template), points))
    scale = crop_scale(network, size)
    matrix = image.new_tensor(to_crop[None], dtype=torch.float64)
    if frame_to_crop is not None:
        matrix = frame_to_crop.to(matrix)[:, :2, :2] @ matrix[:, :2]
        matrix[:, :, 2] += frame_to_crop.to(matrix)[:, :, 2]
    shrunk = image
    if scale > 1:
        small = (max(1, round(image.shape[-2] / scale)), max(1, round(size / scale)))
        with torch.autocast(image.device.type, enabled=False):
            shrunk = F.interpolate(
                image.contiguous(), small, mode="bilinear", align_corners=False, antialias=True
            )
    grid = _sampling_grid(matrix[:, :2], (height, width), (image.shape[-2], size)).to(image)
    grid = grid.expand(len(image), -1, -1, -1)
    with torch.autocast(image.device.type, enabled=False):
        return F.grid_sample(shrunk, grid, padding_mode="border", align_corners=False)


def identity_cosine(
    network: nn.Module, a: Tensor, b: Tensor, frame_to_crop: Tensor | None = None
) -> Tensor:
    """Cosine of the embeddings of two batches of FFHQ-frame crops [n,3,s,s] in [-1,1]: `[n]`.

    No graph is built for a side that needs no gradient. The two may differ in size (one shared
    `frame_to_crop` then does not serve both: align them first).
    """
    return F.cosine_similarity(
        embed(network, a, frame_to_crop), embed(network, b, frame_to_crop), dim=1
    )


def embed(network: nn.Module, image: Tensor, frame_to_crop: Tensor | None = None) -> Tensor:
    """The embedding `[n,d]` (float32 or wider, not normalised) of FFHQ-frame crops."""
    with torch.set_grad_enabled(image.requires_grad and torch.is_grad_enabled()):
        vector = network(align_to_network(image, network, frame_to_crop))
    return vector if vector.dtype == torch.float64 else vector.float()


def crop_scale(network: nn.Module, size: int) -> float:
    """Pixels of an FFHQ-frame crop of `size` under one pixel of the network's input."""
    points = np.asarray(FFHQ_512) * (size / 512)
    matrix = similarity(np.asarray(network.template), points)
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def _homogeneous(matrix: np.ndarray) -> np.ndarray:
    return np.concatenate([matrix, [[0.0, 0.0, 1.0]]])


def _sampling_grid(matrix: Tensor, out: tuple[int, int], source: tuple[int, int]) -> Tensor:
    """`grid_sample` coordinates [m,h,w,2] for out-pixel -> source-pixel matrices [m,2,3].

    Pixel coordinates put the centre of pixel i at i; grid_sample's -1..1 spans the outer edges,
    which is why a source shrunk as a whole needs no other grid.
    """
    height, width = out
    ys = torch.arange(height, dtype=matrix.dtype, device=matrix.device)
    xs = torch.arange(width, dtype=matrix.dtype, device=matrix.device)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    points = torch.stack((x, y, torch.ones_like(x)), dim=-1)
    places = torch.einsum("hwk,mjk->mhwj", points, matrix)
    sides = torch.tensor([source[1], source[0]], dtype=matrix.dtype, device=matrix.device)
    return (places + 0.5) * 2 / sides - 1
