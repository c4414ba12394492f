import numpy as np
import pytest
import torch
from torch import nn

from restore.geometry import FFHQ_512, similarity
from restore.losses.feature_files import load_identity_network
from restore.networks.identity import SPHEREFACE_POINTS, align_to_network, embed, identity_cosine


class Small(nn.Module):
    """An identity network that looks at 14 x 12 pixels."""

    input_size = (14, 12)
    template = tuple((x / 8, y / 8) for x, y in SPHEREFACE_POINTS)
    gray = False

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(14 * 12 * 3, 5)

    def forward(self, face):
        return self.linear(face.flatten(1))


def test_similarity_recovers_a_known_one():
    turn = 1.7 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    source = np.asarray(FFHQ_512)
    target = source @ turn.T + (3, -5)
    found = similarity(source, target)
    np.testing.assert_allclose(found, np.c_[turn, [3, -5]], atol=1e-9)


def ramp(size):
    """An image whose red is x and green is y, in pixel coordinates of a 512 frame."""
    scale = 512 / size
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack((x * scale, y * scale, torch.zeros(size, size))).float()[None]


@pytest.mark.parametrize("size", [128, 256, 512])
def test_landmarks_land_on_the_template(size):
    network = Small()
    face = align_to_network(ramp(size), network)[0]
    # the ramp at each template point reads where in the frame it came from
    wanted = similarity(np.asarray(network.template), np.asarray(FFHQ_512))
    for x, y in ((3.0, 4.0), (8.0, 9.0)):
        expected = wanted @ (x, y, 1)
        got = face[:2, int(y), int(x)]
        # half a pixel of the small image is allowed: a size is scaled about the corner
        np.testing.assert_allclose(got, expected, atol=0.6 * 512 / size)


def test_jitter_is_undone_by_its_matrices():
    network = Small()
    image = ramp(256)
    shift = torch.tensor([[[1.0, 0, 8], [0, 1.0, -4]]])
    moved = torch.roll(image, (-4, 8), dims=(2, 3))  # pixel p of the frame lies at p + (8, -4)
    torch.testing.assert_close(
        align_to_network(moved, network, shift),
        align_to_network(image, network),
        rtol=0,
        atol=0.01,  # of a ramp of 0..512
    )


def test_shrinking_is_antialiased_and_reaches_all_pixels():
    image = torch.zeros(1, 3, 256, 256)
    image[:, :, ::2] = 1  # stripes at the pixel pitch must turn gray, not moiré
    image.requires_grad_()
    face = align_to_network(image, Small())
    assert (face - 0.5).abs().max() < 0.02
    face.sum().backward()
    inside = image.grad[0, 0, 110:150, 110:150]
    assert inside.min() > 0


def test_gray_network_gets_gray():
    network = Small()
    network.gray = True
    image = torch.zeros(1, 3, 64, 64)
    image[:, 1] = 1
    face = align_to_network(image, network)
    assert face.shape == (1, 1, 14, 12)
    torch.testing.assert_close(face, torch.full_like(face, 0.587))


def test_cosine_of_equal_images_is_one_and_gradients_flow_one_way():
    network = Small()
    a, b = torch.rand(2, 3, 32, 32).requires_grad_(), torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(identity_cosine(network, a, a), torch.ones(2))
    cosine = identity_cosine(network, a, b)
    assert cosine.shape == (2,)
    cosine.sum().backward()
    assert a.grad.abs().sum() > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert embed(network, a.bfloat16()).dtype == torch.float32


def test_gradcheck():
    network = Small().double()
    a = torch.rand(1, 3, 20, 20, dtype=torch.float64, requires_grad=True)
    b = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    matrix = torch.tensor([[[1.0, 0.05, 0.3], [-0.05, 1.0, 0.2]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: identity_cosine(network, x, b, matrix), (a,))


@pytest.mark.shared
def test_the_same_face_is_nearer_than_another(shared):
    import io
    import tarfile

    from PIL import Image

    network = load_identity_network(shared / "weights" / "mobilefacenet_casia_112x96.safetensors")
    zoom = torch.tensor([[[1.2, 0, 128 - 1.2 * 128], [0, 1.2, 128 - 1.2 * 140]]])
    faces = []
    with tarfile.open(shared / "faces" / "faces256-val.tar") as tar:
        for name in [m for m in tar.getnames() if m.endswith("webp")][:4]:
            pixels = np.array(Image.open(io.BytesIO(tar.extractfile(name).read())).convert("RGB"))
            faces.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1)
    faces = torch.stack(faces)
    blurred = nn.functional.avg_pool2d(faces, 4)
    blurred = nn.functional.interpolate(blurred, 256, mode="bilinear")
    zoom = zoom.expand(4, -1, -1)
    same = identity_cosine(network, faces, blurred, zoom)
    other = identity_cosine(network, faces, faces.roll(1, 0), zoom)
    assert same.min() > 0.7
    assert other.max() < 0.5
