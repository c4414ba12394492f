"""The visible table of metrics, what each needs, and the suite that measures several at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from restore.errors import InputError, OptionError
from restore.metrics.paired import identity_measure, landmark_measure, lpips_measure, psnr, ssim
from restore.metrics.unpaired import FrechetMetric, NiqeStatistics, niqe


class Metric(Protocol):
    """A measure whose states add up over batches and over ranks.

    `measure(restored, gt, mask)` takes [n,3,h,w] RGB in [-1,1], already rounded to 8 bit, and a
    mask [n,1,h,w] or None; it returns a flat float64 state. `finish(sum of states)` is the value;
    NaN when nothing was measured.
    """

    def measure(self, restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor: ...

    def finish(self, state: Tensor) -> float: ...


@dataclass(frozen=True)
class MeanMetric:
    """The mean over images of `per_image(restored, gt, mask) -> [n]`; NaN of an image: left out.

    A function returns NaN where an image cannot be measured (a mask without room, no face).
    """

    per_image: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def measure(self, restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        values = self.per_image(restored, gt, mask).double()
        known = ~torch.isnan(values)
        return torch.stack((values[known].sum(), known.sum().double()))

    def finish(self, state: Tensor) -> float:
        return float(state[0] / state[1]) if state[1] > 0 else float("nan")


def rounded_to_bytes(image: Tensor) -> Tensor:
    """[-1,1] images clamped and rounded to what an 8-bit file would hold, still in [-1,1]."""
    return (image.float().clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1


@dataclass(frozen=True)
class MetricTools:
    """What the metrics stand on, loaded by the caller; a metric whose tool is None is not there."""

    feature_network: nn.Module | None = None
    lpips_heads: Sequence[Tensor] | None = None
    identity_network: nn.Module | None = None
    landmark_network: nn.Module | None = None
    niqe_statistics: NiqeStatistics | None = None


@dataclass(frozen=True)
class MetricKind:
    """How a metric is built, which direction is better, which tools (fields) it needs, a label.

    `{kind}` in a label is the kind of the first tool's network. `paired` metrics compare image
    with image; the others serve for two unpaired sets, too.
    """

    build: Callable[[MetricTools], Metric]
    better: str
    needs: tuple[str, ...]
    label: str
    paired: bool = True


def _niqe(tools: MetricTools) -> Metric:
    statistics = tools.niqe_statistics
    assert statistics is not None
    return MeanMetric(lambda restored, gt, mask: niqe(restored, statistics, mask))


METRICS: Mapping[str, MetricKind] = {
    "psnr": MetricKind(lambda t: MeanMetric(psnr), "higher", (), "PSNR (dB, RGB)"),
    "psnr_y": MetricKind(
        lambda t: MeanMetric(partial(psnr, luma=True)), "higher", (), "PSNR (dB, Y)"
    ),
    "ssim": MetricKind(lambda t: MeanMetric(ssim), "higher", (), "SSIM (RGB)"),
    "ssim_y": MetricKind(lambda t: MeanMetric(partial(ssim, luma=True)), "higher", (), "SSIM (Y)"),
    "lpips": MetricKind(
        lambda t: MeanMetric(lpips_measure(t.feature_network, t.lpips_heads)),  # type: ignore[arg-type]
        "lower",
        ("feature_network", "lpips_heads"),
        "LPIPS on {kind} (backbone by file)",
    ),
    "identity": MetricKind(
        lambda t: MeanMetric(identity_measure(t.identity_network)),  # type: ignore[arg-type]
        "higher",
        ("identity_network",),
        "identity cosine ({kind})",
    ),
    "landmarks": MetricKind(
        lambda t: MeanMetric(landmark_measure(t.landmark_network)),  # type: ignore[arg-type]
        "lower",
        ("landmark_network",),
        "landmark distance (px at 512, {kind})",
    ),
    "niqe": MetricKind(_niqe, "lower", ("niqe_statistics",), "NIQE (own statistics)", paired=False),
    "frechet": MetricKind(
        lambda t: FrechetMetric(t.feature_network),  # type: ignore[arg-type]
        "lower",
        ("feature_network",),
        "Frechet distance ({kind})",
        paired=False,
    ),
}


class MetricSuite:
    """Several metrics over one stream of batches; the states of ranks add up.

    `update` each batch, `merge` other ranks' suites or sum `state()` over ranks and `load_state`
    it, then `result()`.
    """

    def __init__(self, metrics: Mapping[str, Metric], labels: Mapping[str, str]) -> None:
        self.metrics = dict(metrics)
        self.labels = dict(labels)
        self._states: dict[str, Tensor] = {}

    def update(self, restored: Tensor, gt: Tensor, mask: Tensor | None = None) -> None:
        """Measure a batch: [n,3,h,w] RGB in [-1,1] of one size, mask [n,1,h,w] in [0,1] or None.

        Both images are rounded to 8 bit first, so that a run's own numbers are those of its
        files. One side may be empty ([0,3,h,w]) for metrics that need no pairs.
        """
        paired = len(restored) > 0 and len(gt) > 0
        if paired and restored.shape != gt.shape:
            raise InputError(
                f"restored is {tuple(restored.shape)}, the ground truth {tuple(gt.shape)}; "
                "bring both to one size first"
            )
        restored, gt = rounded_to_bytes(restored.detach()), rounded_to_bytes(gt.detach())
        with torch.no_grad():
            for name, metric in self.metrics.items():
                if not paired and METRICS[name].paired:
                    raise InputError(f"metric {name!r} compares pairs, one side is empty")
                state = metric.measure(restored, gt, mask).cpu()
                before = self._states.get(name)
                self._states[name] = state if before is None else before + state

    def merge(self, other: MetricSuite) -> None:
        """Add another suite's states (of another shard of the same set) to this one's."""
        for name, state in other._states.items():
            before = self._states.get(name)
            self._states[name] = state if before is None else before + state

    def state(self) -> dict[str, Tensor]:
        """The flat float64 states on the CPU, to be summed over ranks; empty without updates."""
        return dict(self._states)

    def load_state(self, states: Mapping[str, Tensor]) -> None:
        """Take states (summed over ranks) in place of its own."""
        self._states = dict(states)

    def result(self) -> dict[str, float]:
        """The value of each metric; NaN where nothing could be measured."""
        return {
            name: metric.finish(self._states[name]) if name in self._states else float("nan")
            for name, metric in self.metrics.items()
        }


def build_suite(
    tools: MetricTools, names: Sequence[str] | None = None, paired: bool = True
) -> MetricSuite:
    """A suite of the named metrics, or of all whose tools are there.

    Raises `OptionError` for unknown names (with the nearest) and for names whose tools are missing.
    """
    problems = []
    if names is None:
        names = [n for n, kind in METRICS.items() if not _missing(kind, tools)]
        names = [n for n in names if paired or not METRICS[n].paired]
    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            problems.append(f"unknown metric {name!r}{hint} Known: {', '.join(METRICS)}")
        elif missing := _missing(METRICS[name], tools):
            problems.append(f"metric {name!r} needs {', '.join(missing)}; give the file")
        elif not paired and METRICS[name].paired:
            problems.append(f"metric {name!r} compares pairs and serves not for unpaired sets")
    if problems:
        raise OptionError("metrics: " + " | ".join(problems))
    labels = {}
    for name in names:
        needs = METRICS[name].needs
        kind = getattr(getattr(tools, needs[0]), "kind", "") if needs else ""
        labels[name] = METRICS[name].label.format(kind=kind)
    return MetricSuite({name: METRICS[name].build(tools) for name in names}, labels)


def _missing(kind: MetricKind, tools: MetricTools) -> list[str]:
    return [need for need in kind.needs if getattr(tools, need) is None]
