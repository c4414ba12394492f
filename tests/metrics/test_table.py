import math

import pytest
import torch
from torch import nn

from restore.errors import InputError, OptionError
from restore.metrics.measure import rounded_to_bytes
from restore.metrics.table import METRICS, MetricTools, build_suite
from restore.networks.facemesh import FaceMesh
from restore.networks.identity import MobileFaceNet
from restore.networks.perceptual import SqueezeNetFeatures


class Means(nn.Module):
    channels = (3,)
    kind = "means"

    def forward(self, image):
        return [nn.functional.avg_pool2d(image, 2)]


def images(n=4, size=32):
    return torch.rand(n, 3, size, size) * 2 - 1


def tools():
    return MetricTools(feature_network=Means(), lpips_heads=[torch.ones(3)])


def test_shards_merge_to_the_whole():
    a, b, mask = images(), images(), torch.ones(4, 1, 32, 32)
    mask[..., 20:] = 0
    whole = build_suite(tools())
    whole.update(a, b, mask)
    shards = [build_suite(tools()) for _ in range(2)]
    shards[0].update(a[:1], b[:1], mask[:1])
    shards[1].update(a[1:3], b[1:3], mask[1:3])
    shards[1].update(a[3:], b[3:], mask[3:])
    shards[0].merge(shards[1])
    assert set(whole.result()) == {"psnr", "psnr_y", "ssim", "ssim_y", "lpips", "frechet"}
    for name, value in whole.result().items():
        assert shards[0].result()[name] == pytest.approx(value, rel=1e-6), name
    # as ranks do it: sum the states
    other = build_suite(tools())
    other.load_state({k: v.clone() for k, v in shards[0].state().items()})
    assert other.result() == shards[0].result()


def test_values_are_those_of_eight_bit_files():
    a, b = images(1), images(1)
    suite = build_suite(tools(), ["psnr"])
    suite.update(a, b)
    written = build_suite(tools(), ["psnr"])
    written.update(rounded_to_bytes(a), rounded_to_bytes(b))
    assert suite.result() == written.result()
    assert rounded_to_bytes(torch.tensor([-3.0, 1.5])).tolist() == [-1, 1]


def test_nothing_measured_is_nan():
    suite = build_suite(tools(), ["psnr", "frechet"])
    assert all(math.isnan(v) for v in suite.result().values())


def test_problems_are_said_together():
    with pytest.raises(OptionError) as caught:
        build_suite(tools(), ["pnsr", "identity"])
    assert "did you mean 'psnr'" in str(caught.value)
    assert "needs identity_network" in str(caught.value)
    with pytest.raises(OptionError, match="compares pairs"):
        build_suite(tools(), ["psnr"], paired=False)
    suite = build_suite(tools(), ["psnr"])
    with pytest.raises(InputError, match="one size"):
        suite.update(images(1, 16), images(1, 32))
    with pytest.raises(InputError, match="compares pairs"):
        suite.update(images(1), images(0))


def test_every_metric_is_built_and_labelled():
    assert {kind.better for kind in METRICS.values()} == {"higher", "lower"}
    squeeze = SqueezeNetFeatures()
    complete = MetricTools(
        feature_network=squeeze,
        lpips_heads=[torch.ones(c) for c in squeeze.channels],
        identity_network=MobileFaceNet().eval(),
        landmark_network=FaceMesh().eval(),
    )
    suite = build_suite(complete)
    assert set(suite.metrics) == set(METRICS) - {"niqe"}
    assert suite.labels["identity"] == "identity cosine (mobilefacenet)"
    a = images(2, 64)
    suite.update(a, a)
    result = suite.result()
    assert result["psnr"] == 100
    assert result["lpips"] == 0
    assert result["identity"] == pytest.approx(1)
    # random weights: the presence logit may say that there is no face, which is NaN, else 0
    assert math.isnan(result["landmarks"]) or result["landmarks"] == 0
    assert result["frechet"] == pytest.approx(0, abs=1e-6)
