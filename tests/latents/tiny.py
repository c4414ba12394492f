"""Tiny generators of both families."""

import torch

from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.networks.stylegan2 import StyleGAN2Generator

MOBILE_ARGUMENTS = {
    "channels": [32, 16, 8, 8],
    "w_dim": 16,
    "num_mapping": 2,
    "head_sizes": [16, 32],
}
"""Those of `mobile`, for the header of a model file."""


def mobile(seed=0):
    torch.manual_seed(seed)
    net = MobileStyleGAN((32, 16, 8, 8), w_dim=16, num_mapping=2, head_sizes=(16, 32)).eval()
    net.w_mean.normal_()
    return net.requires_grad_(False)


def stylegan2(seed=0):
    torch.manual_seed(seed)
    net = StyleGAN2Generator(32, (8, 8, 8, 8), w_dim=16, z_dim=12, num_mlp=2).eval()
    net.w_mean.normal_()
    return net.requires_grad_(False)


FAMILIES = {"mobile": mobile, "stylegan2": stylegan2}
