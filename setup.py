"""Packaging of restore: a light core, and extras that are named where they are needed."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "restore/__init__.py").read_text("utf-8"))
assert VERSION, "restore/__init__.py holds no __version__"

CORE = [
    "numpy>=1.24",
    "opencv-python>=4.8",
    "pillow>=10.1",
    "pyyaml>=6",
    "safetensors>=0.4",
    "tqdm>=4.60",
    "onnxruntime>=1.17",
]
TORCH = ["torch>=2.4", "torchvision>=0.19", "facexlib>=0.3", "facenet-pytorch==2.5.3"]
BASICSR = ['basicsr>=1.4.2; python_version < "3.13"']
TRAIN = ["torch>=2.4", "lmdb>=1.4", "lpips>=0.1.4", "tensorboard>=2.14"]
EXTRAS = {
    "torch": TORCH,
    "train": [*TRAIN, *BASICSR],
    "openvino": ["openvino>=2024.4"],
    "onnx": ["torch>=2.4", "onnx>=1.16", "onnxscript>=0.1"],
    "peers": ["torch>=2.4", "spandrel>=0.4"],
    "ray": ["ray[data]>=2.9"],
    "ui": ["gradio>=6"],
    "clip": ["torch>=2.4", "open_clip_torch>=2.24"],
    "film": ["imageio-ffmpeg>=0.5"],
}
EXTRAS["test"] = [
    *TRAIN,
    "torchvision>=0.19",
    "onnx>=1.16",
    "onnxscript>=0.1",
    "hypothesis>=6",
    "mypy>=1.8",
    "pytest>=8",
    "ruff>=0.6",
    "selenium>=4.10",
    "types-PyYAML",
]
EXTRAS["all"] = sorted({p for name, extra in EXTRAS.items() if name != "test" for p in extra})

README = HERE / "README.md"
DESCRIPTION = (
    "Blind face restoration that keeps the person: light, offline, on a StyleGAN2-family prior"
)

setup(
    name="restore",
    version=VERSION.group(1),
    description=DESCRIPTION,
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["restore", "restore.*"]),
    package_data={
        "restore": ["py.typed", "weights/*", "report/*.css", "report/*.js", "ui/*.css", "ui/*.js"]
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["restore = restore.commands.tree:main"]},
)
