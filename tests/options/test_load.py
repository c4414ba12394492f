import dataclasses
import inspect
import logging
import pickle
import typing
from pathlib import Path

import pytest

from restore.degradation.recipe import RECIPES, Stage
from restore.errors import OptionError
from restore.options.data import FaceDatasetOptions, PairedDatasetOptions
from restore.options.degradation import Recipe
from restore.options.networks import GFPGANOptions, MobileRestorerOptions, PluginNetworkOptions
from restore.options.schema import Options, dump_options, load_options, parse_options
from tests.options.gfpgan_files import FULL, SIMPLE

SMALL = """
name: small
datasets:
  train: {type: FaceDataset, dataroot_gt: crops}
network_g: {type: MobileRestorer, crop_size: 64, trunk_size: 32}
train:
  optim_g: {type: Adam, lr: 2e-3}
  total_iter: 5e3
"""


def problems_of(text: str, overrides=()) -> list[str]:
    with pytest.raises(OptionError) as caught:
        parse_options(text, overrides)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_gfpgans_simple_file(caplog):
    with caplog.at_level(logging.INFO, logger="restore.options.schema"):
        options = parse_options(SIMPLE)
    assert options.num_gpu == "auto" and not options.is_prior
    assert isinstance(options.network_g, GFPGANOptions)
    assert options.network_g.type == "GFPGANv1" and options.network_g.sft_half
    train = options.train_set
    assert isinstance(train, FaceDatasetOptions)
    assert train.roots == ("datasets/ffhq/ffhq_512.lmdb",) and train.batch_size_per_gpu == 3
    assert isinstance(options.datasets["val"], PairedDatasetOptions)
    assert options.train.optim_g.lr == 2e-3 and options.train.l1_opt.loss_weight == 1.0
    assert options.train.perceptual_opt.layer_weights["conv5_4"] == 1.0
    assert options.val.val_freq == 5000 and options.val.metrics["psnr"].metric == "psnr"
    assert options.logger.save_checkpoint_freq == 5000
    ignored = [record.getMessage() for record in caplog.records]
    assert len(ignored) == 4
    for key in ("find_unused_parameters", "port", "prefetch_mode", "use_pbar"):
        assert sum(key in line and "ignored: " in line for line in ignored) == 1


def test_gfpgans_degradation_is_our_recipe():
    recipe = parse_options(SIMPLE).degradation_of("train").as_recipe()
    assert recipe == RECIPES["gfpgan"]
    colourless = SIMPLE.replace("color_jitter_prob: 0.3", "color_jitter_prob: ~").replace(
        "color_jitter_pt_prob: 0.3", "color_jitter_pt_prob: ~\n    gt_gray: True"
    )
    recipe = parse_options(colourless).degradation_of("train").as_recipe()
    assert recipe == RECIPES["gfpgan_no_color"]


def test_gfpgans_full_file():
    options = parse_options(FULL)
    assert list(options.discriminators) == ["d", "d_left_eye", "d_right_eye", "d_mouth"]
    assert options.identity_path.endswith("arcface_resnet18.pth")
    assert options.train_set.crop_components and options.train_set.eye_enlarge_ratio == 1.4
    assert options.train.gan_component_opt.gan_type == "vanilla"
    assert options.train.comp_style_weight == 200
    assert options.path.ignore_resume_networks == ("network_identity",)


@pytest.mark.parametrize("text", [SIMPLE, FULL, SMALL])
def test_resolved_options_read_back_the_same(text):
    options = parse_options(text)
    assert parse_options(dump_options(options)) == options
    assert pickle.loads(pickle.dumps(options)) == options


def test_all_problems_are_reported_together():
    spoilt = (
        SIMPLE.replace("total_iter", "totl_iter")
        .replace("type: Adam\n", "type: Adamm\n", 1)
        .replace("warmup_iter: -1", "warmup_iter: 'no'")
        .replace("noise_range", "noise_rang")
        .replace("type: GFPGANv1\n", "type: GFPGANv1Cleen\n")
        .replace("[0.5, 0.5, 0.5]", "[0, 0, 0]", 1)
        .replace("kernel_prob: [0.5, 0.5]", "kernel_prob: [0.5, x]")
    )
    found = "\n".join(problems_of(spoilt))
    for wanted in (
        "train.totl_iter: unknown key; did you mean 'total_iter'?",
        "train.optim_g.type: 'Adamm' is not one of 'Adam', 'AdamW'; did you mean 'Adam'?",
        "train.warmup_iter: expected a whole number, found str 'no'",
        "train.total_iter: missing",
        "datasets.train.noise_rang: unknown key; did you mean 'noise_range'?",
        "did you mean 'GFPGANv1Clean'?",
        "datasets.train.degradation.kernel_prob[1]: expected a number",
    ):
        assert wanted in found


def test_rules_between_keys():
    text = FULL.replace("  optim_component:\n    type: Adam\n    lr: !!float 2e-3\n", "")
    assert problems_of(text) == [
        "train.optim_component: missing; gan_component_opt needs it",
    ]
    text = FULL.replace("crop_components: true", "crop_components: false").replace(
        "network_d_mouth:\n  type: FacialComponentDiscriminator", ""
    )
    assert [line.split(":")[0] for line in problems_of(text)] == [
        "network_d_mouth",
        "datasets.train.crop_components",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train:code_weight=1", "train.code_weight: needs generated.share"),
        ("train:pyramid_loss_weight=1", "train.pyramid_loss_weight: MobileRestorer has no side"),
        ("train:identity_weight=1", "path.pretrain_network_identity: missing"),
        ("train:gan_opt={}", "train.optim_d: missing"),
        ("train:ema_half_life_kimg=-1", "train.ema_half_life_kimg: found -1.0"),
        ("train:total_iter=2.5", "train.total_iter: expected a whole number, found float 2.5"),
        ("train:total_iter=true", "train.total_iter: expected a whole number, found bool True"),
        ("train:optim_g:lr=.nan", "train.optim_g.lr: expected a number, found float nan"),
        ("train:fidelity={zero_prob: 0.7}", "train.fidelity.zero_prob: with one_prob above 1"),
        ("train:scheduler={type: CosineAnnealingLR, by: time}", "train.scheduler.by: 'time'"),
        ("datasets:train:mean=[0, 0, 0]", "datasets.train.mean: found [0.0, 0.0, 0.0]"),
        ("datasets:trian={type: FaceDataset, dataroot_gt: a}", "datasets.trian: unknown key"),
        ("datasets:train:frame={zom: 1.2}", "datasets.train.frame.zom: unknown key; did you"),
        ("datasets:train:recipe=light", None),
        ("network_g:crop_size=100", "network_g.crop_size: found 100, expected a power of two"),
        ("network_g:nonsense:deeper=1", "network_g.nonsense: unknown key"),
        ("name:deeper=1", "--force_yml 'name:deeper=1': name holds 'small'"),
        ("train:total_iter", "--force_yml 'train:total_iter': expected key:key=value"),
        ("train:total_iter=[1", "--force_yml 'train:total_iter=[1': the value is not YAML"),
        ("model_type=StyleGAN2Model", "network_g.type: found 'MobileRestorer'"),
        ("val:metrics={lpips: {type: lpips}}", "val.metrics.lpips.network_path: missing"),
        ("dist_params=nccl", "dist_params: expected a block of keys, found str 'nccl'"),
    ],
)
def test_one_problem_each(override, problem):
    if problem is None:
        parse_options(SMALL, [override])
        return
    found = problems_of(SMALL, [override])
    assert any(line.startswith(problem) for line in found), found


def test_overrides_change_the_options_and_run_nothing():
    options = parse_options(
        SMALL, ["train:total_iter=7", "train.precision=bf16", "val:val_freq=1e3", "name=__import__"]
    )
    assert (options.train.total_iter, options.train.precision) == (7, "bf16")
    assert options.val.val_freq == 1000 and options.name == "__import__"


def test_numbers_as_people_write_them():
    options = parse_options(SMALL)
    assert options.train.optim_g.lr == 0.002
    assert options.train.total_iter == 5000 and isinstance(options.train.total_iter, int)


def test_recipe_by_name_beside_keys_is_refused():
    found = problems_of(SMALL, ["degradation={recipe: light, noise_range: [0, 5]}"])
    assert found == [
        "degradation.recipe: given beside noise_range; give a recipe or keys, not both"
    ]
    options = parse_options(SMALL, ["degradation={recipe: {light: 1, heavy: 3}}"])
    assert options.degradation_of("train").recipe == {"light": 1.0, "heavy": 3.0}


def test_dataset_degradation_comes_before_the_common_one():
    options = parse_options(SMALL, ["degradation={recipe: light}", "datasets:train:recipe=heavy"])
    assert options.degradation_of("train").recipe == "heavy"


def test_bad_degradations_are_told_with_their_place():
    found = problems_of(
        SMALL,
        [
            "degradation={second: {jpeg_range: [0, 50], sharpen_prob: 2}}",
            "datasets:train:caption_range=[0, 0.1]",
        ],
    )
    assert sorted(found) == [
        "datasets.train.degradation.caption_range: found (0.0, 0.1), expected values in 0.005..0.5",
        "degradation.second.jpeg_range: found (0.0, 50.0), expected values in 1..100",
        "degradation.second.sharpen_prob: found 2.0, expected a probability in 0..1",
    ]
    found = problems_of(SMALL, ["degradation={kernel_list: [iso, box], sharpn_prob: 1}"])
    assert found == ["degradation.sharpn_prob: unknown key; did you mean 'sharpen_prob'?"]


def test_second_pass_reaches_the_recipe():
    options = parse_options(SMALL, ["degradation={second: {blur_prob: 0.5, blur_sigma: [1, 2]}}"])
    recipe = options.degradation.as_recipe()
    assert recipe.second == Stage(blur_prob=0.5, blur_sigma=(1.0, 2.0))


def test_keys_given_twice_are_refused():
    assert problems_of(SMALL + "name: other\n") == [
        "line 9: key 'name' is given twice in one block"
    ]


def test_networks_of_plugins_need_plugins():
    text = SMALL.replace("type: MobileRestorer", "type: MyNet, depth: 3")
    assert any("'MyNet' is not one of" in line for line in problems_of(text))
    options = parse_options(text, ["plugins=[my_pkg.nets]"])
    assert isinstance(options.network_g, PluginNetworkOptions)
    assert options.network_g.type == "MyNet" and options.network_g.arguments["depth"] == 3
    named = parse_options(text.replace("MyNet", '"basicsr:RRDBNet"'))
    assert named.network_g.type == "basicsr:RRDBNet"
    assert parse_options(dump_options(named)) == named


def test_files_that_are_no_option_files(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        load_options(tmp_path / "missing.yml")
    for text, message in (("[1, 2]", "no block of keys"), ("a: [1", "not YAML"), ("", "no block")):
        path = tmp_path / "bad.yml"
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            load_options(path)
    (tmp_path / "bad.yml").write_text("a: !!python/object/apply:os.system ['true']")
    with pytest.raises(OptionError, match="not YAML"):
        load_options(tmp_path / "bad.yml")


def test_ema_is_given_in_images():
    options = parse_options(SMALL, ["train:ema_half_life_kimg=10"])
    assert options.train.ema_decay_for(32) == pytest.approx(0.5 ** (32 / 10000))
    options = parse_options(SMALL, ["train:ema_decay=0.9"])
    assert options.train.ema_decay_for(32) == 0.9


def test_defaults_fit_the_default_restorer():
    from restore.networks.unet_encoder import build_mobile_restorer

    options = MobileRestorerOptions(type="MobileRestorer")
    for name, parameter in inspect.signature(build_mobile_restorer).parameters.items():
        assert getattr(options, name) == parameter.default, name


# files of `python -m restore.train`; a distillation or a style has its own loader and test
OTHERS = ("distil_", "stylise_")
OPTION_FILES = sorted(
    path
    for path in (Path(__file__).parents[2] / "options").glob("*.yml")
    if not path.stem.startswith(OTHERS)
)


def test_there_are_option_files():
    assert {p.stem for p in OPTION_FILES} >= {
        "train_prior_256",
        "train_restorer_256",
        "train_restorer_512",
        "train_gfpgan_512",
        "finetune_gfpgan_v1.4",
        "tiny_cpu",
    }


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda p: p.stem)
def test_option_files_load(path):
    options = load_options(path)
    assert options.name == path.stem
    for name in options.datasets:
        block = options.degradation_of(name)
        if block is None:
            assert isinstance(options.datasets[name], PairedDatasetOptions) or options.is_prior
    assert parse_options(dump_options(options)) == options


def _keys(hint) -> set[str]:
    """Names of the fields of a dataclass and of those within, however they are wrapped."""
    found = set()
    if dataclasses.is_dataclass(hint):
        for name, inner in typing.get_type_hints(hint).items():
            found |= {name} | _keys(inner)
    for inner in typing.get_args(hint):
        found |= _keys(inner)
    return found


def test_every_key_is_documented():
    text = (Path(__file__).parents[2] / "options" / "README.md").read_text("utf-8")
    inner = {f.name for f in dataclasses.fields(Recipe)} - {"second", "reference_size"}
    wanted = _keys(Options) - inner - {"arguments", "l1_opt"} | {"L1_opt", "blur_sigma"}
    missing = {key for key in wanted if f"`{key}`" not in text}
    assert not missing, sorted(missing)


RESTORERS = [path for path in OPTION_FILES if "type: MobileRestorer" in path.read_text("utf-8")]


@pytest.mark.parametrize("path", RESTORERS, ids=lambda p: p.stem)
def test_restorers_of_the_option_files_can_be_built(path):
    import torch

    from restore.networks.unet_encoder import build_mobile_restorer

    options = load_options(path).network_g
    assert isinstance(options, MobileRestorerOptions)
    names = inspect.signature(build_mobile_restorer).parameters
    with torch.device("meta"):
        network = build_mobile_restorer(**{name: getattr(options, name) for name in names})
        size = options.crop_size
        assert network(torch.zeros(1, 3, size, size)).image.shape == (1, 3, size, size)


@pytest.mark.parametrize(("written", "read"), [("off", "off"), ("on", "on"), ('"off"', "off")])
def test_a_bare_on_or_off_is_what_it_says(written, read):
    """YAML 1.1 reads them as true and false."""
    text = SMALL.replace("crops}", f"crops, device_crops: {written}}}")
    assert parse_options(text).train_set.device_crops == read
    assert len(problems_of(SMALL.replace("type: Adam", "type: off"))) == 1
