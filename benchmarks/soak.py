"""`python benchmarks/soak.py`: hostile, damaged and odd files of its own making, and kills.

It makes N photos and M model files by mutation (one seed, the same files), runs the command line on
them under a limit of time and memory, kills runs in the middle and resumes them, and counts what
must never be: traces, hangs, memory, connects, payloads, changed inputs, wrong statuses. Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

ROOT = Path(__file__).resolve().parents[1]
STATUSES = {"restored", "partial", "failed", "no_face", "error"}
LONGEST_SECONDS, MOST_KB = 30.0, 2_000_000
CORES = os.cpu_count() or 1
# Python calls this in the run: each connect of any socket is told on a file of its own.
WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        import traceback
        where = " < ".join(f"{f.filename}:{f.lineno}" for f in traceback.extract_stack()[-6:-1])
        with open(os.environ["SOAK_CONNECTS"], "a") as file:
            file.write(f"{event} {arguments!r} {where}\\n")
sys.addaudithook(watch)
sys.argv[0] = "restore"
from restore.commands.tree import main
sys.exit(main())
"""


@dataclass
class Findings:
    """What must never be, each with where it was seen."""

    traces: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)
    connects: list[str] = field(default_factory=list)
    changed_inputs: list[str] = field(default_factory=list)
    wrong_statuses: list[str] = field(default_factory=list)
    half_written: list[str] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)

    def any(self) -> bool:
        """Whether there is one."""
        return any(vars(self).values())


def photo_bytes(rng: random.Random, face: Image.Image, kind: str) -> bytes:
    """A good photo of a random size in a format."""
    width, height = rng.randint(24, 400), rng.randint(24, 300)
    picture = face.resize((width, height))
    picture = rng.choice([picture, picture.convert("L"), picture.rotate(rng.uniform(0, 360))])
    options: dict[str, Any] = {}
    if kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = rng.randint(0, 9), "soak" * rng.randint(1, 50)
        options["exif"] = exif
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


# What may be done to a photo's bytes


def flipped(rng: random.Random, data: bytes) -> bytes:
    """Some bytes are others, most of them near the beginning."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 30)):
        reach = min(len(spoilt), rng.choice([64, 600, len(spoilt)]))
        spoilt[rng.randrange(reach)] = rng.randrange(256)
    return bytes(spoilt)


def cut(rng: random.Random, data: bytes) -> bytes:
    """The end is missing."""
    return data[: rng.choice([rng.randint(0, 64), len(data) - rng.randint(1, 40),
                              rng.randint(0, len(data))])]  # fmt: skip


def spliced(rng: random.Random, data: bytes) -> bytes:
    """A run of it is there twice, or at another place."""
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    at = rng.randrange(len(data))
    return data[:at] + data[a:b] + data[at:]


def numbers(rng: random.Random, data: bytes) -> bytes:
    """Some 32-bit words are extreme: sizes, counts, offsets."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, min(len(spoilt) - 4, 400)))
        value = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(data), 65535])
        spoilt[at : at + 4] = struct.pack(rng.choice("<>") + "I", value)
    return bytes(spoilt)


# Files that are made to do harm


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def bomb(rng: random.Random, _: bytes) -> bytes:
    """A small PNG of many pixels."""
    side = rng.choice([6000, 13_000, 30_000])
    header = struct.pack(">IIBBBBB", side, side, rng.choice([1, 8]), 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20)) * 2
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def directories(rng: random.Random, _: bytes) -> bytes:
    """A TIFF of very many directories, at times in a circle."""
    count = rng.choice([5, 2000, 100_000])
    chain = [struct.pack("<HI", 0, 8 + 6 * ((i + 1) % count)) for i in range(count)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(chain)


def nested_exif(rng: random.Random, data: bytes) -> bytes:
    """EXIF directories that all point at one another."""
    entries, count = rng.choice([1, 60]), rng.choice([2, 80])
    size = 2 + 12 * entries + 4
    parts = []
    for i in range(count):
        at = 8 + ((i + 1) % count) * size
        entry = struct.pack("<HHII", rng.choice([0x8769, 0x8825]), 4, 1, at)
        parts.append(struct.pack("<H", entries) + entry * entries + struct.pack("<I", at))
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + b"".join(parts)
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 80, 70)).save(out, rng.choice(["JPEG", "PNG"]), exif=exif)
    return out.getvalue()


def nested_xmp(rng: random.Random, _: bytes) -> bytes:
    """A packet of namespaces and elements inside of one another."""
    deep = "".join(f'<a{i} xmlns:n{i}="x">' for i in range(rng.choice([50, 20_000])))
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{deep}')
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 80, 70)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def false_name(rng: random.Random, _: bytes) -> bytes:
    """Something else under a photo's name."""
    return rng.choice([b"%!PS-Adobe-3.0\nshowpage\n", b"", b"Dear grandma", b"\0" * 5000,
                       b"PK\3\4" + bytes(50), b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP",
                       rng.randbytes(3000)])  # fmt: skip


def false_text(rng: random.Random, _: bytes) -> bytes:
    """A good PNG with a text of a name that means something."""
    info = PngImagePlugin.PngInfo()
    info.add_text(rng.choice(["exif", "transparency", "dpi", "icc_profile", "gamma"]), "words")
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 80, 70)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def good(rng: random.Random, data: bytes) -> bytes:
    """As it is."""
    return data


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    good, flipped, flipped, cut, spliced, numbers, bomb, directories, nested_exif, nested_xmp,
    false_name, false_text,
)  # fmt: skip
KINDS = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp", "BMP": "bmp", "GIF": "gif"}
MUST_WORK = ("good", "false_text")
"""Mutations whose photos must be restored."""


def make_files(folder: Path, count: int, seed: int, face: Image.Image) -> None:
    """`count` files, the same for the same seed, named after what was done to them."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        kind = rng.choice(list(KINDS))
        mutation = MUTATIONS[number % len(MUTATIONS)]
        data = mutation(rng, photo_bytes(rng, face, kind))
        odd = rng.choice(["", "", "", " '\"\\", "\x1b[2J", "ä" * 60, "\n"])
        name = f"{number:05d}_{mutation.__name__}{odd}.{KINDS[kind]}"
        (folder / name).write_bytes(data)


# Runs


def sums(folder: Path) -> dict[str, str]:
    """The checksum of each file."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def peak_kb(process: int) -> int:
    """Most memory that a process has held, in kB; 0 where it has gone."""
    try:
        said = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", said)
    return int(found[1]) if found else 0


def run(
    arguments: list[str], room: Path, findings: Findings, kill_after: float | None = None
) -> tuple[int, str, int]:
    """Exit code, standard error and peak kB of one run; hangs, memory and connects are noted.

    A photo that takes longer than `LONGEST_SECONDS` is a hang: the report does not grow. A machine
    that others use gets as much more time as it has more to do than cores.
    """
    connects, said = room / "connects", room / "stderr"
    environment = os.environ | {"SOAK_CONNECTS": str(connects), "PYTHONPATH": str(ROOT)}
    with said.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCH, *arguments], env=environment, stderr=errors,
            stdout=subprocess.DEVNULL, cwd=room,
        )  # fmt: skip
        began = grew = time.monotonic()
        report, length, peak = room / "out/results.jsonl", 0, 0
        while process.poll() is None:
            time.sleep(0.05)
            peak = max(peak, peak_kb(process.pid))
            now = time.monotonic()
            size = report.stat().st_size if report.exists() else 0
            if size != length:
                grew, length = now, size
            if kill_after is not None and now - began > kill_after:
                process.send_signal(signal.SIGKILL)
            elif now - grew > LONGEST_SECONDS * max(1.0, os.getloadavg()[0] / CORES):
                findings.hangs.append(f"after {length} bytes of {report}")
                process.kill()
        code = process.wait()
    text = said.read_text("utf-8", "backslashreplace")
    if "Traceback" in text or (code < 0 and kill_after is None):
        at = max(0, text.find("Traceback"))
        findings.traces.append(f"exit code {code}: {text[at : at + 1500]}")
    if peak > MOST_KB:
        findings.memory.append(f"{peak} kB")
    if connects.exists():
        findings.connects.append(connects.read_text())
        connects.unlink()
    return code, text, peak


def check_results(room: Path, findings: Findings) -> Counter[str]:
    """Statuses of the last record of each photo; wrong ones and damaged results are noted."""
    records = {}
    for line in (room / "out/results.jsonl").read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a line that a kill cut
        records[record["input"]] = record
    for path, record in records.items():
        status, output = record["status"], record["output"]
        mutation = Path(path).name.split("_", 1)[1]
        problem = ""
        if status not in STATUSES:
            problem = "is no status"
        elif (status == "error") != (output is None):
            problem = f"but output {output}"
        elif status == "error" and mutation.startswith(MUST_WORK):
            problem = f"of a good photo: {record['reason']}"
        elif status == "error" and re.search(r"^[^:]*: \w*(Error|Exception): ", record["reason"]):
            problem = f"by a raw error: {record['reason']}"
        elif output is not None and not whole(Path(room, output)):
            problem = f"but {output} is not whole"
        if problem:
            findings.wrong_statuses.append(f"{Path(path).name!r}: {status} {problem}")
    inputs = {os.path.basename(path) for path in records}
    missing = {path.name for path in (room / "in").iterdir()} - inputs
    findings.wrong_statuses += [f"{name!r}: no record" for name in sorted(missing)]
    for path in (room / "out").rglob("*"):
        if path.suffix == ".part" or (path.suffix == ".png" and not whole(path)):
            findings.half_written.append(str(path))
    return Counter(record["status"] for record in records.values())


def whole(path: Path) -> bool:
    """Whether a picture can be decoded to its end."""
    try:
        with Image.open(path) as image:
            np.asarray(image)
    except (OSError, ValueError, SyntaxError):
        return False
    return True


# Models


def split_model(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the tensors' bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined_model(header: str, tensors: bytes) -> bytes:
    """A safetensors file of a header, sound or not, and tensors."""
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + tensors


def header_value(rng: random.Random, data: bytes) -> bytes:
    """A value of the header is something else: no number, a list, deep, huge, of another kind."""
    header, tensors = split_model(data)
    value = rng.choice(["NaN", "Infinity", "[]", "{}", "null", "-1", "1e999", "9" * 400, '"x"',
                        "[" * 5000 + "]" * 5000, "true", "2147483648"])  # fmt: skip
    about = header["__metadata__"]
    key = rng.choice(list(about))
    if key in ("arguments", "template", "prior") and rng.random() < 0.7:
        inner = json.loads(about[key])
        name = rng.choice(list(inner))
        inner[name] = "@"
        about[key] = json.dumps(inner).replace('"@"', value)
    elif rng.random() < 0.5:
        about[key] = value
    else:
        tensor = header[rng.choice([name for name in header if name != "__metadata__"])]
        tensor[rng.choice(list(tensor))] = "@"
        return joined_model(json.dumps(header).replace('"@"', value), tensors)
    return joined_model(json.dumps(header), tensors)


def header_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bytes of the header, or its length, are others."""
    if rng.random() < 0.3:
        length = rng.choice([0, 1, 8, 1 << 31, (1 << 64) - 1, len(data), len(data) * 2])
        return struct.pack("<Q", length) + data[8:]
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        spoilt[rng.randrange(8, 17_000)] = rng.randrange(256)
    return bytes(spoilt)


def all_zero(_: random.Random, data: bytes) -> bytes:
    """No tensor holds anything."""
    header, tensors = split_model(data)
    return joined_model(json.dumps(header), bytes(len(tensors)))


def not_numbers(rng: random.Random, data: bytes) -> bytes:
    """All numbers, or those of a large part, are no numbers or infinite."""
    header, tensors = split_model(data)
    number = rng.choice([b"\xff\x7f", b"\x00\x7c"])  # float16
    most = len(tensors) // 2 * 2
    start = rng.choice([0, most // 4 * 2])
    tensors = tensors[:start] + number * ((most - start) // 2) + tensors[most:]
    return joined_model(json.dumps(header), tensors)


class _Payload:
    """What a pickle would run."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.what = call, arguments

    def __reduce__(self) -> Any:
        return self.what


def pickled(rng: random.Random, data: bytes) -> bytes:
    """A pickle that runs something when it is read, plain or in torch's archive."""
    mark = os.environ["SOAK_PAYLOAD"]
    payload = rng.choice([_Payload(os.system, f"touch '{mark}'"), _Payload(open, mark, "w"),
                          _Payload(eval, f"open({mark!r}, 'w')"),
                          _Payload(exec, f"open({mark!r}, 'w')")])  # fmt: skip
    content = pickle.dumps({"params_ema": payload, "w": [payload]}, rng.choice([0, 2, 4]))
    form = rng.randrange(4)
    if form == 0:
        return content
    if form == 1:
        return flipped(rng, content)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(1 << 28) if form == 3 else b"")
    return out.getvalue()


MODEL_MUTATIONS: tuple[tuple[Callable[[random.Random, bytes], bytes], str], ...] = (
    (header_value, "default.safetensors"), (header_bytes, "default.safetensors"),
    (cut, "default.safetensors"), (all_zero, "default.safetensors"),
    (not_numbers, "default.safetensors"), (flipped, "default.onnx"), (cut, "default.onnx"),
    (numbers, "default.onnx"), (not_numbers, "default-prior.safetensors"), (pickled, "evil.pth"),
    (pickled, "evil.pkl"), (header_value, "default-prior.safetensors"),
)  # fmt: skip
"""What is done, and to which file of the default model; the others lie beside it as they are."""


def run_models(room: Path, count: int, seed: int, photo: Path, findings: Findings) -> Counter[str]:
    """Restore a photo with `count` models in turn; what became of it."""
    weights, folder = ROOT / "restore" / "weights", room / "model"
    outcomes: Counter[str] = Counter()
    payload = room / "payload"
    os.environ["SOAK_PAYLOAD"] = str(payload)
    for number in range(count):
        rng = random.Random(f"{seed}-model-{number}")
        mutation, name = MODEL_MUTATIONS[number % len(MODEL_MUTATIONS)]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(room / "out", ignore_errors=True)
        folder.mkdir()
        for path in weights.glob("default*"):
            shutil.copyfile(path, folder / path.name)
        source = weights / name
        data = source.read_bytes() if source.is_file() else b""
        (folder / name).write_bytes(mutation(rng, data))
        model = name if name.startswith("evil") else "default.safetensors"
        words = ["-i", str(photo), "-o", "out", "-s", "1", "--model", str(folder / model)]
        code, said, _ = run(words, room, findings)
        label = f"model {number}, {mutation.__name__} of {name}"
        if payload.exists():
            findings.payloads.append(label)
            payload.unlink()
        report = room / "out/results.jsonl"
        status = "refused"
        if report.exists() and (text := report.read_text("utf-8").strip()):
            status = json.loads(text.splitlines()[-1])["status"]
        broken = mutation in (all_zero, not_numbers, cut) or name.startswith("evil")
        if (status == "restored" and broken) or (status == "refused" and code != 2):
            findings.wrong_statuses.append(f"{label}: {status}, exit code {code}: {said[-300:]}")
        outcomes[status] += 1
    return outcomes


def main() -> int:
    """Make the files, run, kill, resume, and print the figures; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--face", type=Path, default=ROOT / "samples/snapshot.jpg")
    parser.add_argument("--keep", action="store_true", help="leave the folder of the run")
    options = parser.parse_args()
    room = Path(tempfile.mkdtemp(prefix="restore-soak-"))
    findings = Findings()
    with Image.open(options.face) as opened:
        face = opened.convert("RGB")
    if options.models:
        began = time.monotonic()
        outcomes = run_models(room, options.models, options.seed, options.face, findings)
        print(f"{options.models} models, {time.monotonic() - began:.0f} s; photo: {dict(outcomes)}")
    if options.files:
        run_photos(room, options, face, findings)
    for name, found in vars(findings).items():
        print(f"{name.replace('_', ' ')}: {len(found)}")
        for one in found[:5]:
            print(f"    {one}")
    if options.keep:
        print(room)
    else:
        shutil.rmtree(room, ignore_errors=True)
    return 1 if findings.any() else 0


def run_photos(
    room: Path, options: argparse.Namespace, face: Image.Image, findings: Findings
) -> None:
    """Make the photos, run, kill, resume, and print what became of them."""
    shutil.rmtree(room / "out", ignore_errors=True)
    make_files(room / "in", options.files, options.seed, face)
    before = sums(room / "in")
    arguments = ["-i", str(room / "in"), "-o", "out", "-s", "1", "--resume"]
    began = time.monotonic()
    rng = random.Random(options.seed)
    for _ in range(options.kills):
        run(arguments, room, findings, kill_after=rng.uniform(0.3, 8))
    _, _, peak = run(arguments, room, findings)
    statuses = check_results(room, findings)
    for path, total in sums(room / "in").items():
        if before.get(path) != total:
            findings.changed_inputs.append(path)
    print(f"{options.files} files, {options.kills} kills, {time.monotonic() - began:.0f} s, "
          f"peak {peak / 1e6:.2f} GB; statuses: {dict(statuses)}")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
