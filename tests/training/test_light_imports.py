import subprocess
import sys

from tests.conftest import ROOT

OPTIONAL = (
    "torchvision", "lmdb", "lpips", "tensorboard", "tqdm", "onnxruntime", "basicsr", "wandb",
    "scipy",
)  # fmt: skip


def test_the_trainer_imports_with_torch_numpy_opencv_yaml_safetensors_pillow_alone():
    lines = [
        "import sys",
        *(f"sys.modules[{name!r}] = None" for name in OPTIONAL),
        "import restore.train, restore.test, restore.training.setup",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
