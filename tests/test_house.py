"""The house test: imports run downward, files are short and say what lives there, no prints."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "restore"
FLOORS = (
    "networks degradation images options model_files geometry errors",
    "faces data checkpoints losses metrics trust",
    "runtime",
    "pipeline training latents",
    "commands __main__ train test degrade compat ui report cluster prepare",
)
TOP = len(FLOORS) - 1
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
READ_BY_ALL = ("options", "model_files", "geometry", "errors")
MAY_PRINT = re.compile(r"(__main__|main|train|test)\.py$|commands/")
LIGHT = {
    "pipeline",
    "faces",
    "images",
    "trust",
    "cli",
    "cli_arguments",
    "options",
    "report",
    "ui",
    "geometry",
}
HEAVY = {"torch", "torchvision", "lpips", "lmdb", "basicsr", "facexlib", "spandrel"}
LONGEST = 620
MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    """The folder or top-level file of the package that a module belongs to.

    `data/prepare` is a program of its own that lives beside what it writes.
    """
    parts = path.relative_to(PACKAGE).parts
    return "prepare" if parts[:2] == ("data", "prepare") else parts[0].removesuffix(".py")


def imports(tree: ast.AST, *, top_only: bool = False) -> list[str]:
    nodes = tree.body if top_only and isinstance(tree, ast.Module) else list(ast.walk(tree))
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
    return found


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text("utf-8")) for path in MODULES}


def test_every_place_has_a_floor():
    places = {place(path) for path in MODULES} - {"__init__"}
    assert places <= set(FLOOR_OF), sorted(places - set(FLOOR_OF))


def test_imports_run_downward(trees):
    wrong = []
    for path, tree in trees.items():
        here = place(path)
        if here == "__init__":
            continue
        for name in imports(tree):
            parts = name.split(".")
            if parts[0] in ("benchmarks", "tools"):  # neither is in the wheel
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            if parts[0] != "restore" or len(parts) == 1 or parts[1] == here:
                continue
            there = parts[1]
            if FLOOR_OF[there] > FLOOR_OF[here] or (
                FLOOR_OF[here] == 0 and there not in READ_BY_ALL
            ):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_one_another_in_a_circle(trees):
    """Imports inside functions count too: a circle is a noun that was cut in two."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in trees}
    modules = {name.removesuffix(".__init__") for name in names.values()}
    edges = {}
    for path, tree in trees.items():
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules
                found |= inner or ({node.module} & modules)
        edges[names[path].removesuffix(".__init__")] = found - {"restore"}
    done: set[str] = set()

    def walk(name, trail):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                walk(other, [*trail, name])
            done.add(name)

    for name in sorted(modules):
        walk(name, [])


def test_the_light_core_imports_nothing_heavy_at_module_level(trees):
    wrong = []
    for path, tree in trees.items():
        light = (
            place(path) in LIGHT or path.name.startswith("onnx_") or path == PACKAGE / "__init__.py"
        )
        for name in imports(tree, top_only=True):
            if light and name.split(".")[0] in HEAVY:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_file_says_what_lives_there(trees):
    silent = [str(p.relative_to(ROOT)) for p, tree in trees.items() if not ast.get_docstring(tree)]
    assert not silent, silent


def test_no_file_is_too_long():
    long = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]
    }
    assert not {name: count for name, count in long.items() if count > LONGEST}


def test_nothing_below_the_command_line_prints(trees):
    loud = []
    for path, tree in trees.items():
        if MAY_PRINT.search(path.relative_to(PACKAGE).as_posix()):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                loud.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not loud, loud


def test_no_file_is_called_after_nothing():
    vague = {"utils", "util", "misc", "helper", "helpers", "common"}
    assert not [str(path) for path in MODULES if path.stem in vague or path.parent.name in vague]


def test_pictures_are_opened_through_one_door(trees):
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "Image.open"
        and place(path) != "benchmarks"
    ]
    assert not wrong, wrong


# what opens or writes a file of weights -> the only modules that may
DOORS = {
    r"\btorch\.load\(|\bload_file\b|\bsafe_open\b|\bsave_file\b|pickle\.Unpickler|"
    r"pickle\.loads?\(": "restore/checkpoints/weights_file.py",
    r"import onnxruntime|onnxruntime\.\w|InferenceSession": "restore/model_files.py",
}


def test_weights_files_have_one_door():
    wrong = []
    for path in MODULES:
        name, text = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
        wrong += [
            f"{name}: {found}"
            for pattern, door in DOORS.items()
            for found in re.findall(rf"^(?!\s*#).*?(?:{pattern})", text, re.MULTILINE)
            if name != door
        ]
    assert not wrong, "\n".join(wrong)


def test_weights_are_never_unpickled(trees):
    calls = [
        node
        for node in ast.walk(trees[PACKAGE / "checkpoints" / "weights_file.py"])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert calls
    for call in calls:
        assert {k.arg: ast.unparse(k.value) for k in call.keywords}["weights_only"] == "True"


def test_no_machine_path_and_no_registry_host_in_the_tree():
    forbidden = re.compile("/" + "work/|pypi" + r"\.org|files\.pythonhosted")
    kinds = {".py", ".md", ".yml", ".yaml", ".toml", ".cfg", ".sh", ""}
    found = []
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        hidden = inside[0].startswith((".", "venv")) and inside[0] != ".ci"
        if not path.is_file() or path.suffix not in kinds or hidden:
            continue
        if inside[0] in ("experiments", "relay", "results", "build"):
            continue
        if path.stat().st_size < 1_000_000 and forbidden.search(path.read_text("utf-8", "ignore")):
            found.append(str(path.relative_to(ROOT)))
    assert not found, found
