import pytest
import torch

from restore.networks.perceptual import GFPGAN_LAYERS, Vgg19Features


def test_taps_equal_torchvisions_layers():
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        skeleton = models.vgg19(weights=None).features[:3]
    assert [type(m).__name__ for m in skeleton] == ["Conv2d", "ReLU", "Conv2d"]
    network = Vgg19Features(("relu1_1", "conv1_2", "conv2_2"))
    reference = models.vgg19(weights=None).features[:8].eval()
    reference.load_state_dict(
        {k.removeprefix("features."): v for k, v in network.state_dict().items()}
    )
    # torchvision's ReLUs work in place: clone what is compared.
    x = image = torch.rand(1, 3, 16, 18) * 2 - 1
    x = (image - network.mean) / network.std
    seen = {}
    for index, layer in enumerate(reference):
        x = layer(x)
        seen[index] = x.clone()
    for tap, index in zip(network(image), (1, 2, 7), strict=True):
        torch.testing.assert_close(tap, seen[index])


def test_gfpgan_layers_sit_where_basicsr_reads_them():
    with torch.device("meta"):
        network = Vgg19Features()
    assert network.layers == GFPGAN_LAYERS
    # conv5_4 is layer 34 of torchvision's features
    assert len(network.features) == 35
    assert network.channels == (64, 128, 256, 512, 512)


@pytest.mark.parametrize("layers", [("conv9_1",), ("conv2_2", "conv1_2"), ()])
def test_wrong_layers_are_refused(layers):
    with pytest.raises(ValueError, match="VGG19 layers"):
        Vgg19Features(layers)
