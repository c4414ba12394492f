"""Options of the data sets of an option file, with what is done to their crops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from restore.options.degradation import DegradationOptions
from restore.options.parse import FLAT
from restore.options.training import below_zero

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class IoBackendOptions:
    """How crops are stored; "auto" tells it from the path."""

    type: Literal["auto", "disk", "lmdb", "tar", "array"] = "auto"


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """How the stored crops were aligned, and how far the alignment wanders in training.

    The crops show the FFHQ template enlarged by `zoom` about `centre` (512 px units); they are put
    back into the FFHQ frame. Jitters are standard deviations, cut at two of them.
    """

    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    jitter_scale: float = 0.0
    """Of the logarithm."""
    jitter_rotation: float = 0.0
    """Degrees."""
    jitter_shift: float = 0.0
    """px of the 512 px frame."""

    def problems(self) -> Iterable[str]:
        yield from below_zero(self, "jitter_scale", "jitter_rotation", "jitter_shift")
        if self.zoom <= 0:
            yield f"zoom: found {self.zoom}, expected above 0"

    @property
    def is_plain(self) -> bool:
        """Whether crops pass unchanged."""
        plain = self.zoom == 1 and self.centre == (256.0, 256.0)
        return plain and not (self.jitter_scale or self.jitter_rotation or self.jitter_shift)


@dataclass(frozen=True, kw_only=True)
class FaceDatasetOptions:
    """Good faces, degraded on the device. FFHQDegradationDataset is GFPGAN's name for it."""

    type: Literal["FaceDataset", "FFHQDegradationDataset"]
    name: str = "faces"
    dataroot_gt: str | tuple[str, ...]
    """A folder, LMDB, tar, .npy or .safetensors of crops, or a list of them."""
    io_backend: IoBackendOptions = field(default_factory=IoBackendOptions)
    meta_info_file: str | None = None
    """Text file of the names to use, one a line (more after a space is not read)."""
    frame: FrameOptions = field(default_factory=FrameOptions)
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    out_size: int | None = None
    """px of the frame that is trained; that of the network when not given."""
    use_hflip: bool = True

    crop_components: bool = False
    component_path: str | None = None
    """GFPGAN's .pth of component boxes, by number of the file name; records of the store when not
    given (`restore prepare` writes them)."""
    eye_enlarge_ratio: float = 1.4

    use_shuffle: bool = True
    share: float = 1.0
    """Of several training sets (train, train_2, ...), how often a step's batch comes from this one,
    relative to the others; each may have its own out_size and batch size."""
    num_worker_per_gpu: int = 2
    batch_size_per_gpu: int = 4
    dataset_enlarge_ratio: float = 1.0
    """Draws of one epoch per crop; epochs only matter to the balance of sources."""
    source_weights: Mapping[str, float] = field(default_factory=dict)
    """Source -> how often one of its crops is drawn, 1 for those not named, 0 never."""
    source_csv: str | None = None
    """CSV with the columns `name` and `source_column`; without it the source is the name up to
    its first underscore."""
    source_column: str = "source"
    device_crops: Literal["auto", "on", "off"] = "auto"
    """Keep the whole set as one uint8 array on the device; auto: where it fits device_crops_gb."""
    device_crops_gb: float = 8.0
    num_images: int | None = None
    """Use only the first ones, in order of names."""
    degradation: DegradationOptions | None = field(default=None, metadata={FLAT: True})
    """Keys of the degradation; GFPGAN's layout has them in the dataset's block itself."""

    def problems(self) -> Iterable[str]:
        yield from _normalisation_problems(self.mean, self.std)
        yield from below_zero(self, "num_worker_per_gpu", "device_crops_gb", "share")
        for name in ("batch_size_per_gpu", "num_images", "out_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                yield f"{name}: found {value}, expected at least 1"
        if self.dataset_enlarge_ratio <= 0:
            yield f"dataset_enlarge_ratio: found {self.dataset_enlarge_ratio}, expected above 0"
        if self.eye_enlarge_ratio <= 0:
            yield f"eye_enlarge_ratio: found {self.eye_enlarge_ratio}, expected above 0"
        if any(weight < 0 for weight in self.source_weights.values()):
            yield f"source_weights: found {dict(self.source_weights)}, expected at least 0"

    @property
    def roots(self) -> tuple[str, ...]:
        """dataroot_gt as a tuple."""
        root = self.dataroot_gt
        return (root,) if isinstance(root, str) else root


@dataclass(frozen=True, kw_only=True)
class PairedDatasetOptions:
    """Bad and good pictures of the same name."""

    type: Literal["PairedImageDataset", "PairedDataset"]
    name: str = "pairs"
    dataroot_lq: str
    dataroot_gt: str
    io_backend: IoBackendOptions = field(default_factory=IoBackendOptions)
    meta_info_file: str | None = None
    filename_tmpl: str = "{}"
    """Name of the lq picture made from that of the gt one, without extension."""
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    scale: Literal[1] = 1
    out_size: int | None = None
    use_hflip: bool = False
    use_shuffle: bool = False
    num_worker_per_gpu: int = 0
    batch_size_per_gpu: int = 1
    num_images: int | None = None

    def problems(self) -> Iterable[str]:
        yield from _normalisation_problems(self.mean, self.std)
        if "{}" not in self.filename_tmpl:
            yield f"filename_tmpl: found {self.filename_tmpl!r}, expected one with {{}}"


DatasetOptions = FaceDatasetOptions | PairedDatasetOptions


def _normalisation_problems(mean: tuple[float, ...], std: tuple[float, ...]) -> Iterable[str]:
    for name, value in (("mean", mean), ("std", std)):
        if value != HALF:
            yield f"{name}: found {list(value)}, expected [0.5, 0.5, 0.5]; networks work in -1..1"
