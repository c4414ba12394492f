"""Numbers of the identity benchmark on cosines whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.identity import (
    People,
    best_threshold,
    cross_cosines,
    draw_pairs,
    equal_error,
    fold_accuracy,
    only_in_pairs,
    pass_rate,
    rank_correlation,
    threshold_at,
)


def test_accuracy_is_that_of_thresholds_from_the_other_folds():
    same = np.tile([True, False], 50)
    cosines = np.where(same, 0.8, 0.2)
    fold = np.repeat(np.arange(10), 10)
    found = fold_accuracy(cosines, same, fold)
    assert (found.mean, found.error) == (1, 0) and found.threshold == pytest.approx(0.5)
    swapped = cosines.copy()
    swapped[:10] = 1 - swapped[:10]  # one fold is wrong throughout
    assert fold_accuracy(swapped, same, fold).mean == pytest.approx(0.9)
    assert best_threshold(np.array([0.1, 0.3, 0.9]), np.array([False, True, True])) == 0.2


def test_rates_and_thresholds_of_two_normal_distributions():
    draws = np.random.default_rng(0)
    same, other = draws.normal(0.6, 0.1, 20000), draws.normal(0.2, 0.1, 20000)
    rate, place = equal_error(same, other)
    assert rate == pytest.approx(0.0228, abs=0.004) and place == pytest.approx(0.4, abs=0.01)
    assert threshold_at(other, 1e-2) == pytest.approx(0.2 + 0.2326, abs=0.01)
    assert pass_rate(same, 0.6) == pytest.approx(0.5, abs=0.02)


def test_ranks_ignore_any_rising_curve():
    values = np.random.default_rng(1).normal(size=200)
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)


def test_pairs_share_no_person_between_folds_and_are_drawn_again_alike():
    person = np.repeat(np.arange(60), 3)
    pairs = draw_pairs(person, 8, seed=3)
    assert (np.bincount(pairs.fold[pairs.same]) == 8).all()
    assert (person[pairs.a] == person[pairs.b]).tolist() == pairs.same.tolist()
    folds = {p: set(pairs.fold[person[pairs.b] == p]) for p in range(60)}
    assert all(len(found) <= 1 for found in folds.values())
    np.testing.assert_array_equal(draw_pairs(person, 8, seed=3).a, pairs.a)
    people = People(np.arange(180)[:, None, None, None].astype(np.uint8), person, ("",))
    kept, moved = only_in_pairs(people, pairs)
    assert kept.crops[moved.b, 0, 0, 0].tolist() == pairs.b.tolist()
    vectors = np.eye(4)
    assert len(cross_cosines(vectors, vectors, np.array([0, 0, 1, 1]), np.arange(4))) == 12
