"""What a training sees: crops and faces of the prior, degraded, each sample by its own draws."""

from __future__ import annotations

import logging
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.data.batches import (
    Batch,
    DeviceCrops,
    SampleOrder,
    collate,
    device_crops_fit,
    open_dataset,
    source_balance,
)
from restore.data.face_dataset import Draw, FaceDataset, FaceSample
from restore.data.frame import FrameJitter, frame_boxes, frame_matrices, to_ffhq_frame
from restore.degradation.degrade import degrade
from restore.degradation.recipe import Mixture
from restore.errors import InputError
from restore.options.data import FaceDatasetOptions
from restore.options.schema import Options
from restore.options.training import FidelityOptions

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleDraws:
    """The random streams of a run."""

    seed: int

    def numpy(self, purpose: str, number: int) -> np.random.Generator:
        """The stream of one sample for one purpose."""
        return np.random.Generator(np.random.Philox([self.seed, _key(purpose), number]))

    def integer(self, purpose: str, number: int) -> int:
        """A seed for a function that makes its own stream, below 2**62."""
        return int(self.numpy(purpose, number).integers(2**62))

    def integers(self, purpose: str, numbers: Sequence[int]) -> list[int]:
        """One seed for each sample."""
        return [self.integer(purpose, n) for n in numbers]

    def uniform(self, purpose: str, numbers: Sequence[int]) -> np.ndarray:
        """One float64 in [0,1) for each sample: `[n]`."""
        return np.array([self.numpy(purpose, n).random() for n in numbers])

    def generator(self, purpose: str, number: int, device: str = "cpu") -> torch.Generator:
        """A torch generator with a seed of its own."""
        return torch.Generator(device).manual_seed(self.integer(purpose, number))

    def normal(self, purpose: str, numbers: Sequence[int], width: int) -> torch.Tensor:
        """Unit normal float32 `[n,width]`, row by row the sample's own."""
        rows = [self.numpy(purpose, n).standard_normal(width, np.float32) for n in numbers]
        return torch.from_numpy(np.stack(rows))


def _key(purpose: str) -> int:
    return zlib.crc32(purpose.encode())


@dataclass(frozen=True)
class Crops:
    """`images` uint8 [n,3,c,c] RGB; `mask` uint8 [n,1,c,c], 1 where they show a photo, or None;
    `boxes` float32 [n,3,4] of the parts in pixels of the crop (NaN: unknown), or None."""

    images: Tensor
    mask: Tensor | None = None
    boxes: Tensor | None = None


class CropSource(Protocol):
    """Where crops come from: place in the run's order -> crop, the same whenever it is asked."""

    def draw(self, places: Sequence[int]) -> Crops:
        """The crops at these places of the order, on the device."""
        ...


@dataclass(frozen=True)
class Framing:
    """How crops get into the frame of `size` px; `jitter` None keeps them where they are."""

    size: int
    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    jitter: FrameJitter | None = None


@dataclass(frozen=True)
class FramedFaces:
    """`gt` float [n,3,s,s] in [-1,1]; `mask` [n,1,s,s], 0 in the reflected border; `boxes`."""

    gt: Tensor
    mask: Tensor
    boxes: Tensor | None = None


def place_in_frame(
    crops: Crops, framing: Framing, draws: SampleDraws, numbers: Sequence[int]
) -> FramedFaces:
    """Crops of the samples `numbers` in the frame, each by its own draws."""
    size, crop_size = framing.size, crops.images.shape[-1]
    if framing.jitter is None and framing.zoom == 1 and crop_size == size:
        gt = crops.images.float() / 127.5 - 1
        mask = gt.new_ones(len(gt), 1, size, size) if crops.mask is None else crops.mask.to(gt)
        return FramedFaces(gt, mask, crops.boxes)
    matrices = torch.cat([_matrix(framing, crop_size, draws, number) for number in numbers])
    gt, mask = to_ffhq_frame(crops.images, size, matrices=matrices, mask=crops.mask)
    if crops.boxes is None:
        return FramedFaces(gt, mask)
    boxes = frame_boxes(crops.boxes.cpu(), matrices)
    return FramedFaces(gt, mask, boxes.to(crops.images.device, torch.float32))


def _matrix(framing: Framing, crop_size: int, draws: SampleDraws, number: int) -> Tensor:
    generator = None if framing.jitter is None else draws.generator("jitter", number)
    return frame_matrices(
        1, crop_size, framing.size, framing.zoom, framing.centre, framing.jitter, generator
    )


def template_boxes(n: int, size: int) -> Tensor:
    """Boxes [n,3,4] of left eye, right eye and mouth of the FFHQ template at `size` px.

    Centres are those of DESIGN's five points; sides are GFPGAN's 80, 80 and 120 px of 512.
    """
    centres = torch.tensor([[192.98, 239.95], [318.90, 240.19], [257.18, 371.27]])
    half = torch.tensor([[40.0], [40.0], [60.0]])
    boxes = torch.cat([centres - half, centres + half], 1) + 0.5
    return (boxes * (size / 512) - 0.5).expand(n, 3, 4).clone()


class ReadableFaces:
    """A data set in which another crop stands for one that cannot be read: the next that can.

    Each is named in the log once and counted in `unreadable`; raises `InputError` when there are
    more than ten and one in a hundred of the set. Draws stay a function of the place alone.
    """

    def __init__(self, dataset: FaceDataset) -> None:
        self.dataset = dataset
        self.crop_size, self.keys, self.sources = dataset.crop_size, dataset.keys, dataset.sources
        self.unreadable: dict[str, str] = {}
        self.limit = 10 + len(dataset) // 100

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw | int) -> FaceSample:
        """The crop of a draw, or its replacement."""
        draw = draw if isinstance(draw, Draw) else Draw(int(draw))
        for further in range(len(self)):
            try:
                return self.dataset[Draw((draw.index + further) % len(self), draw.flip)]
            except (InputError, OSError) as error:
                self._note(self.keys[(draw.index + further) % len(self)], str(error))
        raise InputError(f"none of the {len(self)} crops can be read")

    def _note(self, key: str, reason: str) -> None:
        if key in self.unreadable:
            return
        self.unreadable[key] = reason
        count = len(self.unreadable)
        _log.warning("crop %r is left out, %d so far: %s", key, count, reason)
        if count > self.limit:
            raise InputError(
                f"{count} of {len(self)} crops cannot be read, more than {self.limit}: such as "
                f"{key!r} ({reason}). Mend the store, or leave them out by meta_info_file"
            )


class OrderedCrops:
    """The crops of a data set in the endless order of `order`: place p is always the same crop.

    `held` has the whole set on the device; without it threads decode the places that the next
    call will ask for, guessed from the stride of the last two.
    """

    def __init__(
        self,
        dataset: ReadableFaces,
        order: SampleOrder,
        device: torch.device,
        held: DeviceCrops | None = None,
        workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.order = order
        self.device = device
        self.held = held
        self._pool = ThreadPoolExecutor(workers) if workers and held is None else None
        self._prefetched: dict[int, Future[FaceSample]] = {}
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._last = 0

    def draw(self, places: Sequence[int]) -> Crops:
        """The crops at these places, on the device."""
        batch = self._batch(places).to(self.device)
        return Crops(batch.gt, batch.mask, batch.parts)

    def draw_of(self, place: int) -> Draw:
        """Which crop lies at a place, and whether mirrored."""
        number, offset = divmod(place, self.order.num_draws)
        if number not in self._epochs:
            # the epoch at hand and its neighbour: batches may reach over the edge
            kept = {k: v for k, v in self._epochs.items() if abs(k - number) <= 1}
            self._epochs = {**kept, number: self.order.epoch(number)}
        indices, flips = self._epochs[number]
        return Draw(int(indices[offset]), bool(flips[offset]))

    def _batch(self, places: Sequence[int]) -> Batch:
        if self.held is not None:
            return self.held.batch([self.draw_of(place) for place in places])
        if self._pool is None:
            return collate([self.dataset[self.draw_of(place)] for place in places])
        wanted = [self._submit(place) for place in places]
        stride = places[0] - self._last
        self._last = places[0]
        self._prefetched = {k: f for k, f in self._prefetched.items() if k > places[-1]}
        if 0 < stride <= 100_000:
            for place in places:
                self._prefetched[place + stride] = self._submit(place + stride)
        return collate([future.result() for future in wanted])

    def _submit(self, place: int) -> Future[FaceSample]:
        assert self._pool is not None
        if place in self._prefetched:
            return self._prefetched[place]
        return self._pool.submit(self.dataset.__getitem__, self.draw_of(place))


def train_set_of(options: Options) -> FaceDatasetOptions:
    """The block datasets.train, which the schema holds to be a set of good faces."""
    block = options.train_set
    assert isinstance(block, FaceDatasetOptions)
    return block


def framing_of(options: FaceDatasetOptions, size: int) -> Framing:
    """How the crops of a training set get into the frame."""
    frame = options.frame
    jitter = None
    if frame.jitter_scale or frame.jitter_rotation or frame.jitter_shift:
        jitter = FrameJitter(frame.jitter_scale, frame.jitter_rotation, frame.jitter_shift)
    return Framing(options.out_size or size, frame.zoom, frame.centre, jitter)


def open_crops(
    options: FaceDatasetOptions, out_size: int, device: torch.device, seed: int
) -> OrderedCrops:
    """The training crops of an option block."""
    opened = open_dataset(options, out_size)
    if not isinstance(opened, FaceDataset):
        raise InputError("datasets.train is a set of pairs; expected a FaceDataset")
    dataset = ReadableFaces(opened)
    order = SampleOrder(
        source_balance(dataset.sources, options.source_weights),
        seed,
        options.dataset_enlarge_ratio,
        options.use_hflip,
        options.use_shuffle,
    )
    fits = options.device_crops == "auto" and device_crops_fit(
        opened, device, options.device_crops_gb
    )
    held = None
    if options.device_crops == "on" or fits:
        held = DeviceCrops(dataset, device, max(1, options.num_worker_per_gpu))
    return OrderedCrops(dataset, order, device, held, options.num_worker_per_gpu)


@dataclass(frozen=True)
class BankOptions:
    """How generated faces are drawn.

    `size`: px; `truncation`: psi is uniform between these; `fresh`: share of draws that paint a
    new face, the others repeat one of the newest `keep`; `block`: faces painted together;
    `mixing_prob`: a second code takes over at a random layer (then W+ is known, not W alone);
    `name`: banks of other names hold other faces.
    """

    size: int
    truncation: tuple[float, float] = (0.7, 1.0)
    fresh: float = 0.5
    keep: int = 4000
    block: int = 1
    mixing_prob: float = 0.0
    name: str = "bank"


class FaceBank:
    """Faces of a generator by number: face k is a function of (seed, k) alone.

    So nothing of it needs to be saved: what a resumed run lacks is painted again, bit-equal on
    the same machine because faces are always painted in the same blocks.
    """

    def __init__(self, generator: Any, draws: SampleDraws, options: BankOptions) -> None:
        self.generator = generator
        self.draws = draws
        self.options = options
        self._blocks: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()

    def faces(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """The faces of draws: (uint8 [n,3,size,size] RGB, W+ [n,k,w_dim]), on the device."""
        found = [self._face(self._choose(n)) for n in numbers]
        return torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])

    def _choose(self, draw: int) -> int:
        """Which face a draw shows: the newest one so far, or one of those before it."""
        newest = int((draw + 1) * self.options.fresh)
        if int(draw * self.options.fresh) < newest or newest == 0:
            return newest
        oldest = max(0, newest - self.options.keep)
        rng = self.draws.numpy(f"{self.options.name}.choice", draw)
        return int(rng.integers(oldest, newest + 1))

    def _face(self, number: int) -> tuple[Tensor, Tensor]:
        index, place = divmod(number, self.options.block)
        if index not in self._blocks:
            self._blocks[index] = self._paint(index)
            while len(self._blocks) * self.options.block > self.options.keep + self.options.block:
                self._blocks.popitem(last=False)
        images, codes = self._blocks[index]
        return images[place], codes[place]

    @torch.no_grad()
    def _paint(self, index: int) -> tuple[Tensor, Tensor]:
        g, o = self.generator, self.options
        numbers = list(range(index * o.block, (index + 1) * o.block))
        z_dim = getattr(g, "z_dim", g.w_dim)
        device = next(g.parameters()).device
        w_plus = self._codes(f"{o.name}.z", numbers, z_dim, device)
        if o.mixing_prob > 0:
            second = self._codes(f"{o.name}.z2", numbers, z_dim, device)
            for i, number in enumerate(numbers):
                rng = self.draws.numpy(f"{o.name}.mixing", number)
                if rng.random() < o.mixing_prob:
                    at = int(rng.integers(1, g.num_styles))
                    w_plus[i, at:] = second[i, at:]
        image = g.synthesis(w_plus, size=self._painted_size()).clamp(-1, 1)
        if image.shape[-1] != o.size:
            image = F.avg_pool2d(image, image.shape[-1] // o.size)
        return ((image.float() + 1) * 127.5).round().to(torch.uint8), w_plus

    def _painted_size(self) -> int:
        """The smallest size that the generator gives and that is not below the wanted one."""
        sizes = getattr(self.generator, "sizes", (self.options.size,))
        return min(size for size in sizes if size >= self.options.size)

    def _codes(self, purpose: str, numbers: list[int], z_dim: int, device: torch.device) -> Tensor:
        g, (low, high) = self.generator, self.options.truncation
        w = g.mapping(self.draws.normal(purpose, numbers, z_dim).to(device))
        drawn = self.draws.uniform(f"{self.options.name}.psi", numbers)
        psi = low + (high - low) * torch.tensor(drawn)
        w = g.w_mean + psi.to(w)[:, None] * (w - g.w_mean)
        found: Tensor = w[:, None].repeat(1, g.num_styles, 1)
        return found


@dataclass(frozen=True)
class RestorerBatch:
    """What a step of the restorer sees, on the device.

    `lq`, `gt` [n,3,s,s] RGB in [-1,1]; `mask` [n,1,s,s], 1 where gt is a photo and no reflected
    border; `fidelity` [n] in [0,1]; `truth` [n,6] targets of the degradation head, or None;
    `boxes` [n,3,4] of the parts in pixels of gt, NaN where unknown, or None; `w` [n,w_dim] codes
    of generated faces, `known` [n] 1 where they are, or None.
    """

    lq: Tensor
    gt: Tensor
    mask: Tensor
    fidelity: Tensor
    truth: Tensor | None = None
    boxes: Tensor | None = None
    w: Tensor | None = None
    known: Tensor | None = None
    places: Tensor | None = None
    """[n,2] in [0,1): where the windows of the perceptual losses lie, down and across."""


@dataclass(frozen=True)
class RestorerFeed:
    """Everything that a batch is made of.

    `share` of the samples are generated, evenly spread over the sample numbers. `parts`: boxes are
    wanted; where the data have none, those of the template serve (the crops are aligned).
    """

    draws: SampleDraws
    framing: Framing
    recipe: Mixture
    device: torch.device
    source: CropSource | None = None
    bank: FaceBank | None = None
    codes_bank: FaceBank | None = None
    """Of the codes-first phase, which has faces of its own."""
    share: float = 0.0
    fidelity: FidelityOptions = field(default_factory=FidelityOptions)
    parts: bool = False

    def batch(self, numbers: Sequence[int], step: int) -> RestorerBatch:
        """The samples `numbers` of the run as a batch."""
        faces, w, known = self.faces(numbers)
        fidelity = torch.tensor(self._fidelity(numbers, step), dtype=torch.float32)
        return self.degraded(faces, numbers, fidelity.to(self.device), w, known)

    def codes_batch(self, numbers: Sequence[int]) -> RestorerBatch:
        """Generated faces alone, for the codes-first phase; its samples count by themselves."""
        assert self.codes_bank is not None
        images, w = self.codes_bank.faces(list(numbers))
        gt = images.float() / 127.5 - 1
        faces = FramedFaces(gt, gt.new_ones(len(gt), 1, *gt.shape[2:]))
        ones = torch.ones(len(gt), device=self.device)
        return self.degraded(faces, numbers, ones, w, ones, purpose="codes.degrade")

    def faces(self, numbers: Sequence[int]) -> tuple[FramedFaces, Tensor | None, Tensor | None]:
        """Good faces, W+ of the generated ones (zeros for others) and which are generated."""
        made = [self._generated_before(n + 1) > self._generated_before(n) for n in numbers]
        if not any(made):
            assert self.source is not None
            real = self._real(numbers)
            if self.bank is None or self.share == 0:
                return real, None, None
            generator = self.bank.generator
            w = torch.zeros(len(numbers), generator.num_styles, generator.w_dim)
            return real, w.to(self.device), torch.zeros(len(numbers), device=self.device)
        assert self.bank is not None
        size = self.framing.size
        gt = torch.empty(len(numbers), 3, size, size, device=self.device)
        mask = gt.new_ones(len(numbers), 1, size, size)
        boxes = template_boxes(len(numbers), size).to(self.device)
        is_made = torch.tensor(made, device=self.device)
        draws = [self._generated_before(n) for n, m in zip(numbers, made, strict=True) if m]
        images, codes = self.bank.faces(draws)
        gt[is_made] = images.float() / 127.5 - 1
        w = codes.new_zeros(len(numbers), *codes.shape[1:])
        w[is_made] = codes
        if not all(made):
            real = self._real([n for n, m in zip(numbers, made, strict=True) if not m])
            gt[~is_made], mask[~is_made] = real.gt, real.mask
            if real.boxes is not None:
                boxes[~is_made] = real.boxes
        return FramedFaces(gt, mask, boxes if self.parts else None), w, is_made.float()

    def degraded(
        self,
        faces: FramedFaces,
        numbers: Sequence[int],
        fidelity: Tensor,
        w: Tensor | None,
        known: Tensor | None,
        purpose: str = "degrade",
    ) -> RestorerBatch:
        """Faces with their degradation: each sample by a seed of its own."""
        done = degrade(faces.gt, self.recipe, seeds=self.draws.integers(purpose, numbers))
        return RestorerBatch(
            lq=done.lq,
            gt=done.gt,
            mask=faces.mask,
            fidelity=fidelity,
            truth=done.truth.as_target(),
            boxes=faces.boxes,
            w=w,
            known=known,
            places=torch.from_numpy(
                np.stack([self.draws.numpy("window", n).random(2) for n in numbers])
            ),
        )

    def _real(self, numbers: Sequence[int]) -> FramedFaces:
        if self.source is None:
            raise AssertionError("a feed without crops makes generated faces alone")
        places = [n - self._generated_before(n) for n in numbers]
        faces = place_in_frame(self.source.draw(places), self.framing, self.draws, numbers)
        if not self.parts:
            return FramedFaces(faces.gt, faces.mask)
        if faces.boxes is not None:
            return faces
        boxes = template_boxes(len(faces.gt), self.framing.size).to(faces.gt)
        return FramedFaces(faces.gt, faces.mask, boxes)

    def _generated_before(self, number: int) -> int:
        """How many of the samples below `number` are generated."""
        return int(number * self.share + 1e-9) if self.bank is not None else 0

    def _fidelity(self, numbers: Sequence[int], step: int) -> list[float]:
        o = self.fidelity
        if step < o.codes_only_iter:
            return [0.0] * len(numbers)
        if o.mode == "fixed":
            return [o.value] * len(numbers)
        if step < o.start_iter:
            return [1.0] * len(numbers)
        drawn = []
        for number in numbers:
            which, value = self.draws.numpy("fidelity", number).random(2)
            end = o.zero_prob + o.one_prob
            drawn.append(0.0 if which < o.zero_prob else 1.0 if which < end else float(value))
        return drawn
