"""Suppression of doubles, against a plain double loop."""

import numpy as np

from restore.faces.face import box_overlaps, merge_looks, suppress
from tests.faces.scene import placed_face


def plain_suppress(boxes, scores, threshold):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for j in kept:
            low, high = (
                np.maximum(boxes[i, :2], boxes[j, :2]),
                np.minimum(boxes[i, 2:], boxes[j, 2:]),
            )
            shared = np.prod(np.clip(high - low, 0, None))
            union = (
                np.prod(boxes[i, 2:] - boxes[i, :2]) + np.prod(boxes[j, 2:] - boxes[j, :2]) - shared
            )
            if shared / union >= threshold:
                break
        else:
            kept.append(i)
    return kept


def test_agrees_with_the_plain_loop():
    random = np.random.default_rng(3)
    low = random.uniform(0, 60, (80, 2))
    boxes = np.concatenate([low, low + random.uniform(5, 40, (80, 2))], axis=1)
    scores = random.random(80)
    kept = suppress(boxes, scores, 0.3)
    assert kept == plain_suppress(boxes, scores, 0.3)
    assert 1 < len(kept) < 80


def test_nothing_in_nothing_out():
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.3) == []
    assert merge_looks([]) == []


def test_overlaps_over_union_and_over_the_smaller():
    union, smaller = box_overlaps(
        np.array([0, 0, 10, 10.0]), np.array([[0, 0, 5, 10], [20, 0, 30, 9.0]])
    )
    np.testing.assert_allclose(union, [0.5, 0])
    np.testing.assert_allclose(smaller, [1, 0])


def test_an_eye_taken_for_a_face_goes_and_neighbours_stay():
    face = placed_face((100, 100), 40, score=0.9)
    eye = placed_face(face.landmarks[0], 6, score=0.8)
    neighbour = placed_face((185, 100), 40, score=0.7)
    double = placed_face((103, 98), 42, score=0.6)
    assert merge_looks([double, eye, neighbour, face]) == [face, neighbour]
