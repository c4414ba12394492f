import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from restore.geometry import FFHQ_512, similarity
from restore.losses.feature_files import load_landmark_network
from restore.networks.facemesh import FACEMESH_POINTS, FaceMesh
from restore.networks.identity import align_to_network


def test_shapes_and_template():
    points, logit = FaceMesh().eval()(torch.zeros(2, 3, 192, 192))
    assert points.shape == (2, 468, 3)
    assert logit.shape == (2,)
    # the template is a plain scaling of FFHQ's
    matrix = similarity(np.asarray(FFHQ_512), np.asarray(FACEMESH_POINTS))
    np.testing.assert_allclose(matrix[:, :2], np.eye(2) * 0.48, atol=1e-4)


@pytest.mark.shared
def test_eyes_and_mouth_are_found_on_faces(shared):
    network = load_landmark_network(shared / "weights" / "facemesh_468.pth")
    with tarfile.open(shared / "faces" / "faces512-val.tar") as tar:
        names = [m for m in tar.getnames() if m.endswith("webp")][:4]
        faces = [Image.open(io.BytesIO(tar.extractfile(n).read())).convert("RGB") for n in names]
    images = torch.stack([torch.from_numpy(np.array(f)).permute(2, 0, 1) for f in faces])
    zoom = torch.tensor([[[1.2, 0, 256 - 1.2 * 256], [0, 1.2, 256 - 1.2 * 280]]])
    crop = align_to_network(images.float() / 127.5 - 1, network, zoom.expand(4, -1, -1))
    with torch.no_grad():
        points, presence = network(crop)
    assert presence.min() > 3
    xy = points[..., :2]
    found = torch.stack(
        ((xy[:, 33] + xy[:, 133]) / 2, (xy[:, 263] + xy[:, 362]) / 2, xy[:, 61], xy[:, 291]), 1
    )
    wanted = torch.tensor(FACEMESH_POINTS)[[0, 1, 3, 4]]
    # 60 px of the crop lie between the eyes; the two detectors mean the same places only so far
    assert (found - wanted).norm(dim=-1).median() < 6
    assert (found - wanted).mean(0).abs().max() < 4
