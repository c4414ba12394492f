"""The identity guard: is the restored face still the same person, and what if not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError, OptionError, RestoreError
from restore.pipeline.trust_options import TrustOptions

if TYPE_CHECKING:
    from restore.trust.identity import IdentityEmbedder

Crop = NDArray[np.uint8]

_HALVINGS = 5  # the share of a blend is found to 1/32


@dataclass(frozen=True, eq=False)
class IdentityGuard:
    """Measures identity; safe to share between threads if its network is.

    embedder: the network, or None with the reason why there is none. template: [5,2], where the
    crops' landmarks lie.
    """

    embedder: IdentityEmbedder | None
    template: NDArray[np.float64]
    absent: str | None = None

    @property
    def threshold(self) -> float | None:
        """Least cosine at which two faces count as one person; None where it was not calibrated."""
        from restore.trust.thresholds import PACKAGED_THRESHOLDS

        ours = self.embedder is not None and self.embedder.name == PACKAGED_THRESHOLDS.network
        return PACKAGED_THRESHOLDS.same_person if ours else None

    def require(self, options: TrustOptions) -> None:
        """Raise OptionError where a policy needs a network or a threshold and there is none."""
        if options.identity not in ("blend", "keep"):
            return
        if self.embedder is None:
            raise OptionError(
                f"identity cannot be guarded: {self.absent}; use identity 'report' or 'off', or "
                "give a network (--identity_network)"
            )
        if options.identity_threshold is None and self.threshold is None:
            raise OptionError(
                f"the identity network {self.embedder.name!r} has no calibrated threshold; give "
                "the least cosine of one person (--identity_threshold)"
            )

    def cosines(self, before: Sequence[Crop], after: Sequence[Crop]) -> NDArray[np.float32]:
        """Cosine [n] in [-1,1] of each pair of aligned crops, uint8 RGB [s,s,3].

        Raises CheckpointError where the network's file turns out to be unusable.
        """
        if self.embedder is None:
            raise CheckpointError(self.absent or "there is no identity network")
        if not len(before):
            return np.zeros(0, np.float32)
        views = ffhq_views([*before, *after], self.template)
        try:
            vectors = self.embedder.embed(views)
        except RestoreError:
            raise
        # Every runtime has its own exceptions; whatever it is, it is told in its words.
        except Exception as error:
            raise CheckpointError(
                f"the identity network failed: {type(error).__name__}: {error}"
            ) from error
        first, second = vectors[: len(before)], vectors[len(before) :]
        return np.asarray(np.clip((first * second).sum(1), -1, 1), np.float32)

    def blend(self, crop: Crop, restored: Crop, threshold: float) -> tuple[float, float]:
        """The largest share of `restored` over `crop` that keeps the cosine at the threshold.

        Returns (share in [0,1], cosine there); found by bisection, 0 where none does.
        """
        low, high, cosine = 0.0, 1.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = float(self.cosines([crop], [mixed(crop, restored, middle)])[0])
            if found >= threshold:
                low, cosine = middle, found
            else:
                high = middle
        return low, cosine


def mixed(crop: Crop, restored: Crop, share: float) -> Crop:
    """crop + share * (restored - crop), rounded; both uint8 [s,s,3]."""
    if share >= 1:
        return restored
    if share <= 0:
        return crop
    difference = restored.astype(np.float32) - crop
    return np.asarray(np.clip(np.rint(crop + np.float32(share) * difference), 0, 255), np.uint8)


def ffhq_views(crops: Sequence[Crop], template: NDArray[np.float64]) -> Crop:
    """Crops [s,s,3] on any template as [n,s,s,3] in the plain FFHQ frame that identity wants."""
    from restore.faces.warp import warp
    from restore.geometry.similarity import similarity
    from restore.geometry.template import ffhq_template

    size = crops[0].shape[0]
    frame = ffhq_template(size)
    if np.abs(frame - template).max() < 0.01 * size:
        return np.stack(crops)
    matrix = similarity(template, frame)
    return np.stack([np.asarray(warp(crop, matrix, size, size), np.uint8) for crop in crops])
