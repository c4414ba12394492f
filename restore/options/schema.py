"""Option files: the tree of options, reading a file, BasicSR's keys that mean nothing here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from restore.errors import OptionError
from restore.options.data import DatasetOptions, FaceDatasetOptions
from restore.options.degradation import DegradationOptions
from restore.options.networks import (
    DiscriminatorOptions,
    GeneratorOptions,
    GFPGANOptions,
    IdentityOptions,
    MobileRestorerOptions,
    MobileStyleGANOptions,
    PartDiscriminatorOptions,
    StyleGAN2Options,
)
from restore.options.parse import Notes, apply_overrides, parse_block
from restore.options.training import TrainOptions

PARTS = ("left_eye", "right_eye", "mouth")


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """Files that a run starts from, and the folder of runs."""

    pretrain_network_g: str | None = None
    param_key_g: str = "params_ema"
    strict_load_g: bool | None = None
    """None is true: every weight must find its place."""
    pretrain_network_d: str | None = None
    param_key_d: str = "params"
    strict_load_d: bool | None = None
    pretrain_network_d_left_eye: str | None = None
    pretrain_network_d_right_eye: str | None = None
    pretrain_network_d_mouth: str | None = None
    pretrain_network_identity: str | None = None
    resume_state: str | None = None
    ignore_resume_networks: tuple[str, ...] = ()
    experiments_root: str = "experiments"
    """Folder that holds NAME/models, NAME/training_states and the rest."""


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """One measure of the validation. BasicSR's calculate_psnr is psnr, and so on."""

    type: Literal[
        "psnr", "ssim", "lpips", "niqe", "frechet", "identity", "landmarks",
        "calculate_psnr", "calculate_ssim", "calculate_lpips", "calculate_niqe", "calculate_fid",
    ]  # fmt: skip
    crop_border: int = 0
    test_y_channel: bool = False
    network_path: str | None = None
    """Weights of the network that lpips, frechet, identity and landmarks need."""
    better: Literal["higher", "lower"] | None = None
    """For keeping the best model; the measure's own sense when not given."""

    @property
    def metric(self) -> str:
        """The measure's own name."""
        name = self.type.removeprefix("calculate_")
        return "frechet" if name == "fid" else name

    def problems(self) -> Iterable[str]:
        if self.metric in ("lpips", "frechet", "identity", "landmarks") and not self.network_path:
            yield f"network_path: missing; {self.metric} needs the weights of its network"


@dataclass(frozen=True, kw_only=True)
class ValOptions:
    """Validation in the loop, with the EMA weights and fixed seeds."""

    val_freq: int | None = None
    """Iterations; None validates at the end alone."""
    every_minutes: float | None = None
    save_img: bool = True
    num_images_saved: int = 16
    """Rows of the picture grid LQ | restored | GT."""
    suffix: str | None = None
    fidelity: tuple[float, ...] = (1.0,)
    """The first gives the metrics that decide; each gives a column of the grid."""
    metrics: Mapping[str, MetricOptions] = field(default_factory=dict)
    seed: int = 0
    """Of the degradation of the validation crops."""


@dataclass(frozen=True, kw_only=True)
class WandbOptions:
    """Weights and Biases; off without a project."""

    project: str | None = None
    resume_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoggerOptions:
    """What is written while a run goes on."""

    print_freq: int = 100
    save_checkpoint_freq: int = 5000
    save_minutes: float | None = 5.0
    """A resumable state at least this often, whatever the iterations; older ones are replaced."""
    keep_states: int = 3
    """Of the states by iteration; 0 keeps all."""
    use_tb_logger: bool = False
    use_csv: bool = True
    wandb: WandbOptions = field(default_factory=WandbOptions)

    def problems(self) -> Iterable[str]:
        for name in ("print_freq", "save_checkpoint_freq"):
            if getattr(self, name) < 1:
                yield f"{name}: found {getattr(self, name)}, expected at least 1"


@dataclass(frozen=True, kw_only=True)
class DistOptions:
    """Processes, started by torchrun or slurm."""

    backend: Literal["nccl", "gloo", "auto"] = "auto"
    """auto: nccl on GPUs, gloo on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """An option file. `load_options` reads one."""

    name: str
    model_type: Literal["GFPGANModel", "RestorerModel", "StyleGAN2Model"] | None = None
    """Told from network_g when not given: a generator alone is trained as the prior."""
    num_gpu: int | Literal["auto"] = "auto"
    """0 trains on the CPU; auto takes what torchrun started, or one GPU where there is one."""
    manual_seed: int = 0
    plugins: tuple[str, ...] = ()
    """Modules with `RESTORE_NETWORKS = {NAME: builder}`."""
    degradation: DegradationOptions | None = None
    """Of every dataset that has none of its own."""
    datasets: Mapping[str, DatasetOptions]
    network_g: GeneratorOptions
    network_d: DiscriminatorOptions | None = None
    network_d_left_eye: PartDiscriminatorOptions | None = None
    network_d_right_eye: PartDiscriminatorOptions | None = None
    network_d_mouth: PartDiscriminatorOptions | None = None
    network_identity: IdentityOptions | None = None
    path: PathOptions = field(default_factory=PathOptions)
    train: TrainOptions | None = None
    val: ValOptions = field(default_factory=ValOptions)
    logger: LoggerOptions = field(default_factory=LoggerOptions)
    dist_params: DistOptions = field(default_factory=DistOptions)

    def problems(self) -> Iterable[str]:
        yield from self._dataset_problems()
        yield from self._network_problems()
        if self.train is not None:
            yield from self._train_problems(self.train)

    def _dataset_problems(self) -> Iterable[str]:
        for name in self.datasets:
            if not name.startswith(("train", "val", "test")):
                yield f"datasets.{name}: unknown key; expected train, val, val_2, ... or test"
        if self.train is not None and not isinstance(self.train_set, FaceDatasetOptions):
            yield "datasets.train: missing; expected a FaceDataset to train on"

    def _network_problems(self) -> Iterable[str]:
        wants_prior = self.model_type == "StyleGAN2Model"
        is_prior = isinstance(self.network_g, (StyleGAN2Options, MobileStyleGANOptions))
        if self.model_type is not None and wants_prior != is_prior:
            fit = "a StyleGAN2" if wants_prior else "a restorer"
            yield f"network_g.type: found {self.network_g.type!r}; {self.model_type} needs {fit}"

    def _train_problems(self, train: TrainOptions) -> Iterable[str]:
        if train.gan_opt is not None and self.network_d is None:
            yield "network_d: missing; train.gan_opt needs a discriminator"
        if train.gan_component_opt is not None:
            for part in PARTS:
                if getattr(self, f"network_d_{part}") is None:
                    yield f"network_d_{part}: missing; train.gan_component_opt needs it"
            crops = self.train_set
            if isinstance(crops, FaceDatasetOptions) and not crops.crop_components:
                yield "datasets.train.crop_components: train.gan_component_opt needs it to be true"
        if train.identity_weight and self.identity_path is None:
            yield (
                "path.pretrain_network_identity: missing; train.identity_weight needs a face "
                "embedding (or network_identity.load_path)"
            )
        mobile = isinstance(self.network_g, MobileRestorerOptions)
        if train.pyramid_loss_weight and mobile:
            yield "train.pyramid_loss_weight: MobileRestorer has no side images; expected 0"
        if train.degradation_weight and isinstance(self.network_g, GFPGANOptions):
            yield "train.degradation_weight: GFPGAN's encoders have no such head; expected 0"
        frozen = isinstance(self.network_g, MobileStyleGANOptions) and self.network_g.freeze_levels
        if frozen and train.path_reg_weight:
            yield "train.path_reg_weight: expected 0 with network_g.freeze_levels: w is not trained"
        if self.is_prior and (train.gan_opt is None):
            yield "train.gan_opt: missing; a prior is trained by its discriminator alone"

    @property
    def is_prior(self) -> bool:
        """Whether the run trains a prior, not a restorer."""
        return isinstance(self.network_g, (StyleGAN2Options, MobileStyleGANOptions))

    @property
    def train_set(self) -> DatasetOptions | None:
        """The block datasets.train."""
        return self.datasets.get("train")

    @property
    def val_sets(self) -> dict[str, DatasetOptions]:
        """The validation blocks by name, in the file's order."""
        return {k: v for k, v in self.datasets.items() if not k.startswith("train")}

    @property
    def identity_path(self) -> str | None:
        """Weights of the face embedding, from either of its two places."""
        own = self.network_identity.load_path if self.network_identity else None
        return own or self.path.pretrain_network_identity

    @property
    def discriminators(self) -> dict[str, Any]:
        """The options of all discriminators that are given, by network name without `network_`."""
        names = ["d", *(f"d_{part}" for part in PARTS)]
        found = {name: getattr(self, f"network_{name}") for name in names}
        return {name: options for name, options in found.items() if options is not None}

    def degradation_of(self, name: str) -> DegradationOptions | None:
        """What is done to the crops of a dataset; None of pairs, which are degraded already."""
        options = self.datasets[name]
        if not isinstance(options, FaceDatasetOptions):
            return None
        return options.degradation or self.degradation


OLD_KEYS = {
    "find_unused_parameters": "every trained weight gets a gradient",
    "is_train": "the command says whether this is a training",
    "dist_params.port": "torchrun chooses the port",
    "dist_params.launcher": "--launcher says it",
    "datasets.*.phase": "the block's name says it",
    "datasets.*.scale": "a restorer keeps the size",
    "datasets.*.prefetch_mode": "batches are always fetched ahead",
    "datasets.*.num_prefetch_queue": "batches are always fetched ahead",
    "datasets.*.pin_memory": "memory is pinned where a GPU reads it",
    "datasets.*.persistent_workers": "workers always persist",
    "datasets.*.use_rot": "faces are upright; rotation is frame.jitter_rotation",
    "datasets.*.color_jitter_pt": "color_jitter_pt_prob says it",
    "network_identity.norm_layer": "the weights file says it",
    "path.root": "runs lie in path.experiments_root",
    "path.strict_load": "strict_load_g and strict_load_d say it",
    "path.param_key": "param_key_g and param_key_d say it",
    "path.pretrain_network_g_ema": "param_key_g chooses the weights in the file",
    "train.perceptual_opt.pooling_stride": "VGG19 pools by 2",
    "train.perceptual_opt.remove_pooling": "VGG19 pools",
    "val.use_pbar": "progress is logged",
    "val.pbar": "progress is logged",
    "logger.use_wandb": "wandb.project switches it",
}
"""Dotted path, `*` for any one name -> why the key does nothing. Everything else is refused."""


log = logging.getLogger(__name__)


def load_options(path: str | Path, overrides: Iterable[str] = ()) -> Options:
    """Read an option file and check it.

    overrides: texts `a:b=c` of `--force_yml`, checked like the file. Raises OptionError with all
    problems, each with the key's path and, for a misspelt one, the nearest key that exists.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"option file {path} cannot be read: {error}") from error
    return parse_options(text, overrides, str(path))


def parse_options(text: str, overrides: Iterable[str] = (), source: str = "options") -> Options:
    """The same for the text of an option file; `source` names it in messages."""
    loader = _Loader(text)
    try:
        block = loader.get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        raise OptionError(f"{source} is not YAML: {error}") from error
    finally:
        loader.dispose()
    if not isinstance(block, dict):
        raise OptionError(f"{source} holds no block of keys; expected name, datasets, network_g...")
    block, problems = apply_overrides(block, overrides)
    notes = Notes(old_keys=OLD_KEYS, plugins=bool(block.get("plugins")))
    notes.problems += [*loader.repeated, *problems]
    options = parse_block(Options, block, "", notes)
    if notes.problems:
        count = f"{len(notes.problems)} problem{'s' if len(notes.problems) > 1 else ''}"
        raise OptionError("\n  ".join([f"{source} has {count}:", *notes.problems]))
    for line in notes.ignored:
        log.info("%s", line)
    assert isinstance(options, Options)
    return options


def dump_options(options: Any) -> str:
    """The resolved options as YAML that `load_options` reads to the same options."""
    return yaml.safe_dump(to_plain(options), sort_keys=False, allow_unicode=True)


def to_plain(value: Any) -> Any:
    """Options as dicts, lists and scalars; a plugin's block gets its arguments back."""
    if is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "foreign"):
            return {"type": value.type, **to_plain(value.arguments)}  # type: ignore[attr-defined]
        return {_KEYS.get(f.name, f.name): to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(inner) for inner in value]
    return value


_KEYS = {"l1_opt": "L1_opt"}
"""Keys that are not written like their fields."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that notes keys which a file gives twice: PyYAML keeps the last in silence."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen and key != "<<":
                line = key_node.start_mark.line + 1
                self.repeated.append(f"line {line}: key {key!r} is given twice in one block")
            seen.add(key)
        return super().construct_mapping(node, deep)
