"""What the commands of `restore/latents/arguments.py` do: from words and files to pictures."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from restore.checkpoints.weights_file import read_tensors, write_tensors
from restore.errors import CheckpointError, InputError, MissingExtraError
from restore.images.contact_sheet import grid_sheet
from restore.images.write import write_photo
from restore.latents import cross, film, imagine
from restore.latents.arguments import FACE, say
from restore.latents.codes import (
    Codes,
    check_size,
    describe,
    join_codes,
    load_codes,
    paint_codes,
    save_codes,
    styles_of,
)
from restore.latents.face_regions import REGIONS, region_energies, region_masks
from restore.latents.generate import (
    generate_faces,
    load_generator,
    render,
    save_generator,
    to_uint8,
)
from restore.latents.invert import InvertOptions, Target, TuneOptions, invert, mean_start, tune
from restore.latents.photos import (
    FramedFace,
    encoder_start,
    framed_face,
    framed_like,
    framed_mask,
    image_tensor,
    read_rgb,
    resized,
)
from restore.latents.spaces import (
    Generator,
    level_rows,
    measure_w,
    mix,
    seeds_to_w_plus,
    z_of_seeds,
    z_to_w_plus,
)
from restore.losses.feature_files import load_feature_network, load_lpips_heads
from restore.metrics.paired import psnr
from restore.networks.perceptual import LpipsLoss
from restore.runtime.contract import keep_freed_memory
from restore.runtime.identity import load_identity
from restore.trust.identity import IdentityEmbedder

CAPTION_FROM = 96  # px of a picture from which its seed is written below


# Shared by the commands.


def open_generator(arguments: Namespace) -> Generator:
    """The generator of --model, on --device where the command has it."""
    keep_freed_memory()
    return load_generator(arguments.model, getattr(arguments, "device", "cpu"))


def at_least(least: int, count: int, option: str, why: str = "") -> None:
    """InputError for less."""
    if count < least:
        raise InputError(f"{option} {count}: expected {least} or more{why}")


def face_codes(text: str, generator: Generator, truncation: float) -> Codes:
    """The codes of a FACE on the command line; InputError where it is none."""
    if _is_seed(text):
        return Codes(seeds_to_w_plus(generator, [int(text)], truncation).contiguous())
    path, number = text, 0
    head, _, tail = text.rpartition(":")
    if head and tail.isdigit() and not Path(text).is_file():
        path, number = head, int(tail)
    if not Path(path).is_file():
        raise InputError(f"{text!r} is no face: expected {FACE}")
    codes = load_codes(path, generator)
    if not 0 <= number < len(codes):
        raise InputError(f"{path} holds {len(codes)} faces; number {number} is not there (from 0)")
    one = slice(number, number + 1)
    styles = codes.styles and tuple(s[one] for s in codes.styles)
    noise = {k: v[one] if len(v) > 1 else v for k, v in codes.noise.items()}
    return Codes(codes.w_plus[one], styles, noise)


def _is_seed(text: str) -> bool:
    return text.lstrip("-").isdigit()


def _seeds(faces: Sequence[str]) -> list[int]:
    wrong = [text for text in faces if not _is_seed(text)]
    if wrong:
        raise InputError(f"{wrong[0]!r} has no z: only seeds have; use --space w")
    return [int(text) for text in faces]


def _face_name(text: str) -> str:
    return f"seed {text}" if _is_seed(text) else Path(text).stem


def face_picture(generator: Generator, codes: Codes, size: int) -> np.ndarray:
    """The picture of one face's codes, RGB uint8 [size,size,3]."""
    found: np.ndarray = to_uint8(paint_codes(generator, codes, size))[0]
    return found


def save_sheet(
    path: Path, pictures: Sequence[np.ndarray], captions: Sequence[str] | None, columns: int | None
) -> None:
    """Write a contact sheet; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid_sheet(pictures, captions, columns).save(path)


def load_features(arguments: Namespace) -> LpipsLoss | None:
    """LPIPS on the user's network, with lpips' heads where that package is installed."""
    if arguments.features is None:
        return None
    network, heads = load_feature_network(arguments.features), None
    if getattr(network, "kind", "") == "squeezenet1_1":
        try:
            heads = load_lpips_heads("squeeze")
        except MissingExtraError:
            heads = None  # all channels weigh alike then: a plain feature distance
    return LpipsLoss(network, heads).to(arguments.device)


def _load_identity(arguments: Namespace) -> IdentityEmbedder | None:
    """The identity network that was asked for, else the packaged one, else None."""
    try:
        return load_identity(arguments.identity)
    except CheckpointError:
        if arguments.identity is not None:
            raise
        return None


def bar_label(arguments: Namespace, text: str) -> str | None:
    """The label of a progress bar; None for none."""
    return None if arguments.quiet else text


# Drawing.


def run_sample(arguments: Namespace) -> int:
    """A sheet of faces, one for each seed."""
    at_least(1, arguments.count, "--count")
    generator, psi, size = open_generator(arguments), arguments.truncation, arguments.size
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    output, folder = arguments.output, arguments.folder
    if output.suffix == ".npy":
        raise InputError(f"{output}: a sheet is a picture; `python -m tools faces` writes arrays")
    faces = list(generate_faces(generator, seeds, psi, size))
    captions = [f"seed {s}" for s in seeds] if size >= CAPTION_FROM else None
    save_sheet(output, faces, captions, arguments.columns)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for seed, face in zip(seeds, faces, strict=True):
            Image.fromarray(face).save(folder / f"seed{seed:05d}.png")
    return say(
        f"{output}: {len(faces)} faces of {size} px, seeds {seeds[0]} to {seeds[-1]}, "
        f"truncation {psi:g}"
    )


def run_spaces(arguments: Namespace) -> int:
    """The table of S and a few numbers on w."""
    generator = open_generator(arguments)
    known = measure_w(generator)
    share = known.axes.square().sum(1).cumsum(0) / known.covariance.diagonal().sum()
    parts = [f"{n} axes {float(share[n - 1]):.0%}" for n in (8, 32, 128) if n <= len(share)]
    return say(
        f"{describe(generator)}\n\nW+ [n,{generator.num_styles},{generator.w_dim}], "
        f"S {sum(generator.style_sizes)} numbers, images to {generator.out_size} px. "
        f"w: standard deviation {known.std:.3f}, length of the mean "
        f"{float(known.mean.norm()):.2f}, variance in {', '.join(parts)}"
    )


def run_mix(arguments: Namespace) -> int:
    """A grid of faces: coarse styles by column, the styles of some levels by row."""
    generator = open_generator(arguments)
    known, size = level_rows(generator), arguments.size
    strange = [level for level in arguments.levels if level not in known]
    if strange:
        raise InputError(f"levels {strange}: this generator has {list(known)} px")
    rows = [row for level in arguments.levels for row in known[level]]

    def codes(words: Sequence[str]) -> list[Tensor]:
        return [face_codes(text, generator, arguments.truncation).w_plus for text in words]

    def painted(w_plus: Tensor) -> np.ndarray:
        found: np.ndarray = to_uint8(render(generator, w_plus, size))[0]
        return found

    faces, styles = codes(arguments.faces), codes(arguments.styles)
    pictures = [np.full((size, size, 3), 250, np.uint8), *map(painted, faces)]
    captions = ["", *map(_face_name, arguments.faces)]
    for text, style in zip(arguments.styles, styles, strict=True):
        pictures += [painted(style), *(painted(mix(face, style, rows)) for face in faces)]
        captions += [_face_name(text), *[""] * len(faces)]
    save_sheet(arguments.output, pictures, captions, len(faces) + 1)
    levels = ", ".join(map(str, arguments.levels))
    return say(
        f"{arguments.output}: {len(faces)} faces with the levels {levels} px of {len(styles)}"
    )


def run_strip(arguments: Namespace) -> int:
    """Strips, each row a way from one face to the next."""
    faces, count, psi = arguments.faces, arguments.pictures, arguments.truncation
    if len(faces) < 2 or count < 2:
        raise InputError(f"{len(faces)} faces, {count} pictures a row: expected 2 or more of each")
    generator = open_generator(arguments)
    pictures, captions = [], []
    for first, second in pairwise(faces):
        ends = [face_codes(text, generator, psi) for text in (first, second)]
        for space in ("z", "w") if arguments.space == "both" else (arguments.space,):
            for t in (k / (count - 1) for k in range(count)):
                if space == "z":
                    z = z_of_seeds(generator, _seeds((first, second)))
                    codes = Codes(z_to_w_plus(generator, film.slerp(z[:1], z[1:], t), psi))
                else:
                    codes = film.lerp(ends[0], ends[1], t)
                pictures.append(face_picture(generator, codes, arguments.size))
                captions.append(f"{first} to {second}, {space.upper()} {t:.2f}")
    save_sheet(arguments.output, pictures, captions, count)
    return say(f"{arguments.output}: {len(pictures) // count} strips of {count} pictures")


def run_film(arguments: Namespace) -> int:
    """A film through the faces: an MP4, or a folder of PNGs."""
    faces, loop, size = arguments.faces, not arguments.once, arguments.size
    count, psi = arguments.frames, arguments.truncation
    total = len(list(film.steps(len(faces), count, loop)))
    generator = open_generator(arguments)
    way: Iterable[Codes]
    if arguments.space == "z":
        way = film.walk_z(generator, _seeds(faces), count, psi, loop)
    else:
        ends = [face_codes(text, generator, psi) for text in faces]
        way = film.walk_codes(ends, count, loop)
    bar = tqdm(way, desc="film", total=total, unit="frame", disable=arguments.quiet)
    frames = (face_picture(generator, codes, size) for codes in bar)
    output, rate = arguments.output, arguments.rate
    if output.suffix.lower() == ".mp4":
        written = film.write_film(frames, output, rate)
        return say(f"{output}: {written} frames of {size} px, {written / rate:.1f} s")
    written = film.write_frames(frames, output)
    return say(f"{output}: {written} frames of {size} px")


# Searching.


def run_invert(arguments: Namespace) -> int:
    """The code of a photo's face, a file of codes and a sheet to look at."""
    space, size, output = arguments.space, arguments.size, arguments.output
    options = InvertOptions(arguments.steps, arguments.rate, arguments.noise, half=arguments.half)
    generator = open_generator(arguments)
    check_size(generator, size)
    features = load_features(arguments)
    face = framed_face(arguments.photo, size, number=arguments.face)
    targets = _targets(arguments, face)
    image, mask = targets[0].image, targets[0].mask
    if arguments.start == "mean":
        start = mean_start(generator, 1)
    else:
        start = encoder_start(arguments.start, generator, image)
    found = invert(
        generator, targets, space, start, measure_w(generator), options, features,
        bar_label(arguments, space),
    )  # fmt: skip
    save_codes(output, found.codes, [arguments.photo.name])
    result = paint_codes(generator, found.codes, size)
    shown = {"photo": image, "edit": targets[-1].image, space: result}
    if len(targets) == 1:
        del shown["edit"]
    score = f"PSNR {float(psnr(result, image, mask)):.2f} dB"
    lines = [f"{output}: {space}, {arguments.steps} steps, {score}, {found.seconds:.0f} s"]
    if arguments.tune:
        tuned = tune(
            generator, found.codes, targets[0], TuneOptions(arguments.tune), features,
            bar_label(arguments, "tuning"), arguments.half,
        )  # fmt: skip
        path = output.with_name(f"{output.stem}_tuned.safetensors")
        save_generator(path, tuned.generator, f"Tuned to the face of {arguments.photo.name}.")
        shown["tuned"] = paint_codes(tuned.generator, found.codes, size)
        score = f"PSNR {float(psnr(shown['tuned'], image, mask)):.2f} dB"
        lines.append(f"{path}: tuned generator, {score}, {tuned.seconds:.0f} s")
    sheet = arguments.sheet or output.with_suffix(".png")
    save_sheet(sheet, [to_uint8(p)[0] for p in shown.values()], list(shown), len(shown))
    return say(*lines, f"{sheet}: {', '.join(shown)}")


def _targets(arguments: Namespace, face: FramedFace) -> list[Target]:
    """The photo where nothing is painted over, and the edit's colours where it is."""
    mask = face.mask if arguments.mask is None else framed_mask(arguments.mask, face)
    if (arguments.edit is None) != (arguments.edit_mask is None):
        raise InputError("--edit and --edit-mask go together; give both or none")
    device = arguments.device
    if arguments.edit is None:
        return [Target(face.image.to(device), mask.to(device))]
    edited = framed_mask(arguments.edit_mask, face)
    image = framed_like(arguments.edit, face)
    followed = Target(image.to(device), edited.to(device), arguments.edit_finest)
    return [Target(face.image.to(device), (mask * (1 - edited)).to(device)), followed]


def run_cross(arguments: Namespace) -> int:
    """One face of two, the first inside a mask, the second outside."""
    if arguments.codes is not None and arguments.method == "blend":
        raise InputError("--codes: a blend of features has no code; use --method search")
    generator = open_generator(arguments)
    size = check_size(generator, arguments.size)
    words = (arguments.first, arguments.second)
    parents = [face_codes(text, generator, arguments.truncation) for text in words]
    masks = cross.soft_masks(_mask(arguments, size).to(generator.w_mean), arguments.softness)
    both = join_codes(generator, parents)
    first, second = (paint_codes(generator, parent, size) for parent in parents)
    if arguments.method == "blend":
        child = cross.blend(generator, both, masks, size)
    else:
        sought = min(size, max(256, generator.out_size // 4))
        options = InvertOptions(arguments.steps, half=arguments.half)
        small = cross.soft_masks(resized(masks[:1] * 2 - 1, sought) / 2 + 0.5, 0.0)
        found = cross.cross_by_search(
            generator, both, small, sought, measure_w(generator), options,
            load_features(arguments), bar_label(arguments, "cross"),
        )  # fmt: skip
        child = paint_codes(generator, Codes(found.codes.w_plus), size)
        if arguments.codes is not None:
            save_codes(arguments.codes, found.codes, [f"{words[0]} in {words[1]}"])
    shown = (masks[:1].cpu().numpy()[0] * 255).round().astype(np.uint8).transpose(1, 2, 0)
    plain = (masks[0] * first + masks[1] * second).clamp(-1, 1)
    pictures = [to_uint8(image)[0] for image in (first, second, child, plain)]
    pictures.insert(1, np.repeat(shown, 3, 2))
    names = [_face_name(text) for text in words]
    captions = [names[0], "mask of it", names[1], arguments.method, "pixels alone"]
    save_sheet(arguments.output, pictures, captions, len(pictures))
    seam = float((child - plain).abs().mean()) * 127.5
    return say(
        f"{arguments.output}: {', '.join(captions)}; {seam:.1f} of 255 from the pixels' own mix"
    )


def _mask(arguments: Namespace, size: int) -> Tensor:
    """The mask [1,1,size,size] of the first face."""
    if arguments.mask is not None:
        gray = read_rgb(arguments.mask, "the mask of a face").astype(np.float32).mean(2) / 255
        way = cv2.INTER_AREA if size < len(gray) else cv2.INTER_LINEAR
        return torch.from_numpy(cv2.resize(gray, (size, size), interpolation=way))[None, None]
    strange = [region for region in arguments.regions if region not in REGIONS]
    if strange:
        raise InputError(f"regions {strange}: expected some of {', '.join(REGIONS)}")
    masks = region_masks(size)
    total = sum(masks[region] for region in arguments.regions)
    return torch.from_numpy(np.clip(total, 0, 1).astype(np.float32))[None, None]


def run_children(arguments: Namespace) -> int:
    """Children of two faces, and what each has of whom."""
    at_least(1, arguments.count, "--count")
    options = cross.DrawOptions(arguments.dominance, arguments.mutation_prob, arguments.mutation)
    generator, psi = open_generator(arguments), arguments.truncation
    size = check_size(generator, arguments.size)
    network = _load_identity(arguments)
    genes = cross.gene_map(generator, _gene_energies(arguments, generator))
    words = (arguments.first, arguments.second)
    parents = [face_codes(text, generator, psi) for text in words]
    styles = [styles_of(generator, parent) for parent in parents]
    images = [paint_codes(generator, parent, size) for parent in parents]
    captions = [_face_name(text) for text in words]
    lines = [f"| child | gene | of {captions[0]} | mutated | seen of {captions[0]} |"]
    lines.append("|---|---|---|---|---|")
    children = []
    for number in range(arguments.count):
        drawn = cross.draw_genes(genes, arguments.seed * 100_003 + number, options)
        pool = generator.styles(seeds_to_w_plus(generator, drawn.stranger, psi))
        child = cross.child_codes(generator, genes, drawn, styles[0], styles[1], pool)
        image = paint_codes(generator, child, size)
        measured = cross.likeness(image, images[0], images[1])
        for i, name in enumerate(genes.names):
            seen = f"{measured[name]:.0%}" if name in measured else "-"
            shares = f"{float(drawn.first[i]):.0%} | {float(drawn.mutation[i]):.0%}"
            lines.append(f"| {number + 1} | {name} | {shares} | {seen} |")
        children.append(child)
        images.append(image)
        captions.append(f"child {number + 1}")
    pictures = [to_uint8(image)[0] for image in images]
    if network is not None:
        captions, text = _distances(network, pictures, captions)
        lines.append(text)
    if arguments.codes is not None:
        save_codes(arguments.codes, join_codes(generator, children), captions[2:])
    save_sheet(arguments.output, pictures, captions, min(4, len(pictures)))
    return say(f"{arguments.output}: two parents, {arguments.count} children", *lines)


def _distances(
    network: IdentityEmbedder, pictures: list[np.ndarray], captions: list[str]
) -> tuple[list[str], str]:
    """Captions with each child's distance to both parents, and the table."""
    rows = network.embed(np.stack(pictures))
    distances, new = 1 - rows @ rows[:2].T, list(captions)
    lines = [
        f"\nidentity distance (1 - cosine, {network.name}); between the parents "
        f"{distances[0, 1]:.2f}\n\n| child | to {captions[0]} | to {captions[1]} |\n|---|---|---|"
    ]
    for i in range(2, len(captions)):
        one, two = distances[i]
        new[i] = f"{captions[i]}: {one:.2f}, {two:.2f}"
        lines.append(f"| {i - 1} | {one:.2f} | {two:.2f} |")
    return new, "\n".join(lines)


def _gene_energies(arguments: Namespace, generator: Generator) -> Tensor:
    """What the map of genes is made from: of its file, or measured on the generator (and kept)."""
    path = arguments.genes
    if path is not None and path.is_file():
        tensors = read_tensors(path)
        if "energies" not in tensors:
            raise InputError(f"{path} holds no map of genes; name another file")
        return tensors["energies"]
    w = seeds_to_w_plus(generator, range(900, 900 + arguments.gene_faces), 0.7)[:, 0]
    size = min(max(64, generator.out_size // 8), generator.out_size)
    energies = region_energies(generator, w, size, probes=2, show_progress=not arguments.quiet)
    if path is not None:
        write_tensors(path, {"energies": energies}, {})
    return energies


def run_imagine(arguments: Namespace) -> int:
    """Several faces that a very bad photo could be of, each labelled as imagined."""
    at_least(2, arguments.count, "--count", ": one face alone would pass for the person")
    generator = open_generator(arguments)
    size = check_size(generator, arguments.size)
    network = _load_identity(arguments)
    small, mask = (x.to(arguments.device) for x in _small_face(arguments))
    degradation = imagine.SoftDegradation(
        small.shape[-1], arguments.blur, arguments.jpeg, arguments.gray
    )
    faces = list(imagine.imagine(
        generator, small, mask, degradation,
        range(arguments.seed, arguments.seed + arguments.count), measure_w(generator),
        imagine.default_options(arguments.steps, arguments.half), arguments.truncation,
        not arguments.quiet,
    ))  # fmt: skip
    faces.sort(key=lambda face: -face.match)
    photo = to_uint8(resized(small, size))[0]
    above, below, plain, lines = [photo], [photo], [], []
    about, stem = imagine.imagined_metadata(), arguments.photo.stem
    for number, face in enumerate(faces, 1):
        image = paint_codes(generator, face.codes, size)
        plain.append(to_uint8(image)[0])
        above.append(imagine.labelled(plain[-1]))
        below.append(to_uint8(resized(degradation(image), size))[0])
        path = arguments.output / f"{stem}_imagined_{number}.png"
        write_photo(path, above[-1], about)
        save_codes(path.with_suffix(".safetensors"), face.codes, [path.stem])
        lines.append(
            f"{path}: match {face.match:.1f} dB, {face.distance:.2f} deviations from the mean code"
        )
    names = [f"imagined {number}" for number in range(1, len(faces) + 1)]
    captions = ["the photo", *names, "the photo", *(f"{name}, degraded" for name in names)]
    sheet = arguments.output / f"{stem}_imagined_sheet.png"
    drawn = np.asarray(grid_sheet([*above, *below], captions, len(above)))
    write_photo(sheet, imagine.labelled(drawn), about)
    if network is not None:
        mean, least = imagine.most_unlike(network.embed(np.stack(plain)))
        lines.append(
            f"identity cosine among them: mean {mean:.2f}, least {least:.2f} ({network.name}): "
            "what they do not share the photo does not tell"
        )
    return say(f"{sheet}: {imagine.LABEL}", *lines)


def _small_face(arguments: Namespace) -> tuple[Tensor, Tensor]:
    """The face of the photo in the FFHQ frame at about its own pixels, and where it is valid."""
    if arguments.aligned:
        pixels = read_rgb(arguments.photo, "an aligned crop")
        side = arguments.small or min(len(pixels), 128)
        return resized(image_tensor(pixels), side), torch.ones(1, 1, side, side)
    # a frame in which a pixel is about a pixel of the photo: the eyes are 126 of 512 px apart
    own = round(framed_face(arguments.photo, 256).eye_distance * 512 / 126)
    face = framed_face(arguments.photo, arguments.small or int(np.clip(own, 8, 128)))
    return face.image, face.mask
