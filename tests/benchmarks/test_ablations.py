"""The ablations' changes stand in the option file's own words."""

from __future__ import annotations

import pytest

from restore.benchmarks.ablations import VARIANTS, main
from restore.errors import InputError
from restore.options.schema import load_options
from tests.conftest import ROOT

FILE = ROOT / "options" / "ablation_cpu.yml"


def test_every_variant_changes_what_it_says_and_nothing_else():
    whole = load_options(FILE)
    changed = {name: load_options(FILE, list(VARIANTS[name])) for name in VARIANTS}
    assert changed["whole"] == whole
    assert changed["random decoder"].network_g.decoder_load_path is None
    assert changed["no SFT"].network_g.condition_levels == ()
    assert changed["no identity loss"].train.identity_weight == 0 < whole.train.identity_weight
    assert changed["no degradation loss"].train.degradation_weight == 0
    assert changed["no generated faces"].train.generated.share == 0
    assert changed["no generated faces"].train.optim_g == whole.train.optim_g


def test_an_unknown_variant_is_named(tmp_path):
    with pytest.raises(InputError, match="no hair"):
        main(["-opt", str(FILE), "--faces", str(tmp_path), "--weights", str(tmp_path),
              "-o", str(tmp_path), "--variants", "no hair"])  # fmt: skip
