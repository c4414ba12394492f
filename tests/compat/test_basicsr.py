import importlib
import importlib.util
import sys

import pytest

from restore.compat import basicsr as bridge
from restore.errors import MissingExtraError, OptionError
from restore.options.networks import PluginNetworkOptions

INSTALLED = importlib.util.find_spec("basicsr") is not None
needs_basicsr = pytest.mark.skipif(not INSTALLED, reason="basicsr is not installed")


@pytest.mark.skipif(INSTALLED, reason="basicsr is installed")
def test_without_basicsr_the_error_names_the_pip_line():
    with pytest.raises(MissingExtraError, match="pip install"):
        bridge.import_basicsr()


def test_the_stub_never_stays():
    pytest.importorskip("torchvision")
    had = "torchvision.transforms.functional_tensor" in sys.modules
    with bridge._functional_tensor():
        module = importlib.import_module("torchvision.transforms.functional_tensor")
        assert callable(module.rgb_to_grayscale)
    assert ("torchvision.transforms.functional_tensor" in sys.modules) == had


@needs_basicsr
def test_a_network_of_basicsr_by_name():
    from restore.training.build import build_plugin_network

    arguments = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 4}
    network = build_plugin_network(
        PluginNetworkOptions(type="basicsr:RRDBNet", arguments=arguments), ()
    )
    assert type(network).__name__ == "RRDBNet"
    with pytest.raises(OptionError, match="known there"):
        build_plugin_network(PluginNetworkOptions(type="basicsr:NoSuchNet"), ())


@needs_basicsr
def test_our_networks_register_on_request():
    assert "RestoreGFPGAN" in bridge.register_networks()
    assert bridge.register_networks() == []
    registry = bridge.import_basicsr("basicsr.utils.registry").ARCH_REGISTRY
    built = registry.get("RestorePatchDiscriminator")(width=4)
    assert type(built).__name__ == "PatchDiscriminator"
