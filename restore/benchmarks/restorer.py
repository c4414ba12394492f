"""The default restorer, or any, on the fixed validation protocol: one command prints its tables.

    python -m restore.benchmarks restorer --faces FACES --weights WEIGHTS --size 256 --count 32

What is measured and how: docs of `restore.benchmarks.protocol`. The rows "LQ" start from the small
degraded picture (see `small_picture`), not from the enlarged one that restorers get.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from restore.benchmarks.candidates import REFERENCES, RestorerModel, load_models
from restore.benchmarks.protocol import (
    PROTOCOL_RECIPES,
    SIZES,
    ProtocolFaces,
    RecipeResult,
    find_protocol_recipe,
    measure_recipe,
    open_faces,
    row_label,
)
from restore.benchmarks.protocol_metrics import (
    PROTOCOL_METRICS,
    ProtocolMetrics,
    load_metrics,
    niqe_statistics,
)
from restore.benchmarks.protocol_pictures import calibration_plot, face_sheet
from restore.benchmarks.protocol_tables import (
    aims_table,
    calibration_table,
    dial_table,
    finite,
    quality_table,
)
from restore.errors import InputError
from restore.runtime.memory import keep_freed_memory
from restore.runtime.select import BACKENDS

DIAL = (0.0, 0.25, 0.5, 0.75, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks restorer`: prints Markdown; bad input raises `RestoreError`."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    fidelities = _fidelities(args)
    for recipe in args.recipes:
        find_protocol_recipe(recipe)
    for path in (args.json, args.sheet, args.calibration, args.niqe):
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError(f"{path}: its folder is not there; make it first")
    faces = open_faces(args.faces, args.size, args.count)
    metrics = _metrics(args)
    models = load_models(args.model, args.backend, args.device, args.threads)
    results = []
    for recipe in args.recipes:
        result = measure_recipe(
            faces,
            recipe,
            REFERENCES,
            models,
            fidelities,
            metrics.suites,
            args.batch,
            args.sheet_faces if args.sheet else 0,
            progress=not args.quiet,
        )
        print(_section(result, faces, metrics, models, args), flush=True)
        results.append(result)
        if args.sheet:
            _save_sheets(result, models, args)
    _head(results, models, args)
    if args.json:
        args.json.write_text(json.dumps(_report(results, faces, metrics, args), indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "restore.benchmarks restorer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--faces", type=Path, required=True, help="folder with faces256-val.tar, faces512-val.tar")
    add("--weights", type=Path, help="folder with the networks that measure")
    add("--model", nargs="+", default=["default"], help="FILE, name, or LABEL=FILE; several")
    add("--backend", choices=[b for b in BACKENDS if b != "auto"], default="torch")
    add("--device", default="cpu", help="of the torch backend")
    add("--threads", type=int)
    add("--fidelity", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    add("--recipes", nargs="+", default=list(PROTOCOL_RECIPES))
    add("--metrics", nargs="+", default=list(PROTOCOL_METRICS))
    add("--niqe", type=Path, help="NIQE statistics; fitted on faces*-train*.tar where not there")
    add("--size", type=int, choices=SIZES, default=512)
    add("--count", type=int, help="faces, evenly spread over the set; default all")
    add("--batch", type=int, default=4, help="faces at a time; changes memory, not the protocol")
    add("--monotone", action="store_true", help="table of the fidelity dial in five steps")
    add("--json", type=Path, help="all numbers")
    add("--sheet", type=Path, help="picture of some faces; the recipe is added to its name")
    add("--sheet-faces", type=int, default=6)
    add("--calibration", type=Path, help="plot of the degradation head, estimate against truth")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def _fidelities(args: argparse.Namespace) -> list[float]:
    """The asked ones in their order, then what the dial's table needs besides."""
    asked = list(dict.fromkeys(args.fidelity))
    wrong = [f for f in asked if not 0 <= f <= 1]
    if wrong or args.batch < 1 or args.sheet_faces < 1:
        raise InputError(
            f"fidelity {asked}, batch {args.batch}, sheet faces {args.sheet_faces}: expected "
            "fidelities in 0..1 and whole numbers of 1 or more"
        )
    return asked + [f for f in DIAL if args.monotone and f not in asked]


def _metrics(args: argparse.Namespace) -> ProtocolMetrics:
    if args.weights is not None and not args.weights.is_dir():
        raise InputError(f"{args.weights} is no folder; give the one with the measuring networks")
    statistics = None
    if args.niqe is not None and "niqe" in args.metrics:
        statistics = niqe_statistics(args.niqe, args.faces, args.size, not args.quiet)
    return load_metrics(args.metrics, args.weights, statistics, args.monotone)


def _section(
    result: RecipeResult,
    faces: ProtocolFaces,
    metrics: ProtocolMetrics,
    models: Sequence[RestorerModel],
    args: argparse.Namespace,
) -> str:
    asked = list(dict.fromkeys(args.fidelity))
    labels = [*REFERENCES, *(row_label(m.label, f) for m in models for f in asked)]
    backend = "" if args.backend == "torch" else f", {args.backend}"
    parts = [
        f"### {result.recipe}, {faces.size} px, {len(faces.names)} faces of {faces.set_name}"
        + backend,
        quality_table(result.rows, labels, metrics.names),
    ]
    parts += [f"Left out: {name}: {why}" for name, why in metrics.left_out.items()]
    for model in models:
        if args.monotone:
            parts.append(f"Fidelity dial of {model.label}, {result.recipe}:")
            parts.append(dial_table(result.rows, model.label, DIAL))
        if result.recipe == "gfpgan":
            parts.append(f"Aims, {model.label}, {faces.size} px:")
            parts.append(aims_table(result.rows, model.label, asked))
    return "\n\n".join(parts) + "\n"


def _head(
    results: Sequence[RecipeResult], models: Sequence[RestorerModel], args: argparse.Namespace
) -> None:
    """The degradation head's errors over all recipes, printed and drawn."""
    if args.calibration is None:
        return
    for model in models:
        sets = {
            r.recipe: (r.truth, r.estimates[model.label])
            for r in results
            if model.label in r.estimates
        }
        if not sets:
            print(f"{model.label} has no degradation head: no calibration", file=sys.stderr)
            continue
        truth = torch.cat([t for t, _ in sets.values()])
        estimates = torch.cat([e for _, e in sets.values()])
        recipes = ", ".join(sets)
        print(f"### Degradation head of {model.label}: {len(truth)} pictures of {recipes}\n")
        print(calibration_table(truth, estimates) + "\n")
        label = model.label if len(models) > 1 else ""
        calibration_plot(sets).save(_named(args.calibration, label))


def _save_sheets(
    result: RecipeResult, models: Sequence[RestorerModel], args: argparse.Namespace
) -> None:
    first = next(iter(REFERENCES))
    for model in models:
        own = [row_label(model.label, f) for f in sorted(set(args.fidelity))]
        sheet = face_sheet(result.pictures, [first, *own, "ground truth"])
        label = model.label if len(models) > 1 else ""
        sheet.save(_named(args.sheet, label, result.recipe))


def _named(path: Path, *words: str) -> Path:
    added = "".join(f"_{word.replace('/', '_')}" for word in words if word)
    return path.with_name(f"{path.stem}{added}{path.suffix}")


def _report(
    results: Sequence[RecipeResult],
    faces: ProtocolFaces,
    metrics: ProtocolMetrics,
    args: argparse.Namespace,
) -> dict[str, Any]:
    return {
        "set": faces.set_name,
        "size": faces.size,
        "faces": list(faces.names),
        "models": args.model,
        "backend": args.backend,
        "metrics": dict(metrics.labels),
        "left_out": dict(metrics.left_out),
        "recipes": {
            r.recipe: {
                "rows": {label: finite(row) for label, row in r.rows.items()},
                "truth": r.truth.tolist(),
                "estimates": {label: e.tolist() for label, e in r.estimates.items()},
            }
            for r in results
        },
    }
