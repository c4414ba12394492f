import pytest
import torch

from restore.networks.perceptual import SqueezeNetFeatures


def test_taps_equal_torchvisions_layers():
    models = pytest.importorskip("torchvision.models")
    reference = models.squeezenet1_1(weights=None).eval()
    network = SqueezeNetFeatures.from_state(reference.state_dict())
    image = torch.rand(2, 3, 47, 53) * 2 - 1
    # torchvision's documented normalisation of [0,1] images
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    x = (image / 2 + 0.5 - mean) / std
    taps = network(image)
    found = 0
    for index, layer in enumerate(reference.features):
        x = layer(x)
        if index in (1, 4, 7, 9, 10, 11, 12):
            torch.testing.assert_close(taps[found], x, rtol=1e-4, atol=1e-5)
            found += 1
    assert found == len(taps) == 7
    assert tuple(t.shape[1] for t in taps) == network.channels


def test_missing_keys_are_refused():
    state = SqueezeNetFeatures().state_dict()
    state.pop("features.9.squeeze.bias")
    with pytest.raises(RuntimeError, match=r"features\.9\.squeeze\.bias"):
        SqueezeNetFeatures.from_state(state)
