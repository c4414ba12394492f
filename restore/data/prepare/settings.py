"""PrepareSettings: what a set is to look like, and which faces are good enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from restore.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """All that decides what a crop looks like; a resumed preparation must have the same.

    size, zoom, centre: of the crops, the FFHQ template enlarged by zoom about centre (512 px
    units). aligned: the inputs are crops, aligned on in_zoom about in_centre. detector: a name of
    `load_detector`; with aligned inputs None takes the template's landmarks. faces: which of a
    photo. encoding: file kind of the crops.

    The filters: min_score in [0,1]; min_side px of the photo that the crop's side must cover, as a
    share of size; min_sharpness (see `sharpness`); min_inside, share of the crop that must lie in
    the photo; max_tilt degrees; max_turn, how far the nose may be from between the eyes, as a share
    of their distance (1 about a profile).
    """

    size: int = 512
    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    aligned: bool = False
    in_zoom: float = 1.0
    in_centre: tuple[float, float] = (256.0, 256.0)
    detector: str | None = "default"
    faces: Literal["all", "largest"] = "all"
    encoding: Literal["png", "webp", "jpg"] = "png"
    quality: int = 95
    source: str = "prefix"
    """"prefix" of the name up to the first underscore, "folder", or the source's own name."""
    min_score: float = 0.6
    min_side: float = 0.5
    min_sharpness: float = 1.2
    min_inside: float = 0.8
    max_tilt: float = 60.0
    max_turn: float = 0.9

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError("; ".join(problems))

    def _problems(self) -> Iterable[str]:
        if self.size < 8:
            yield f"size: found {self.size}, expected at least 8 px"
        for name in ("zoom", "in_zoom"):
            if getattr(self, name) <= 0:
                yield f"{name}: found {getattr(self, name)}, expected above 0"
        for name in ("min_score", "min_inside"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: found {getattr(self, name)}, expected 0..1"
        if not self.aligned and self.detector is None:
            yield "detector: none; photos need one (aligned crops do not)"

    def to_plain(self) -> dict[str, Any]:
        """For the file beside the set, as JSON gives it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
