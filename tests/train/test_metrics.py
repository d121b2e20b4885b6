"""Metrics against examples counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_fm.train.metrics import accuracy, classification_report, confusion_matrix

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])  # class 2 is never predicted


def test_accuracy_is_the_share_of_hits():
    assert accuracy(PREDICTED, LABELS) == 3 / 6


def test_confusion_rows_are_true_and_columns_predicted():
    expected = [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    confusion = confusion_matrix(PREDICTED, LABELS, classes=4)
    np.testing.assert_array_equal(confusion, expected)
    assert confusion.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_confusion_does_not_overflow_or_change_with_small_or_unsigned_integers(dtype):
    labels = np.array([199, 0, 199], dtype=dtype)
    predicted = np.array([198, 0, 199], dtype=dtype)
    confusion = confusion_matrix(predicted, labels, classes=200)
    assert confusion.sum() == 3
    assert confusion[199, 198] == confusion[0, 0] == confusion[199, 199] == 1


def test_report_by_hand_with_zero_for_undefined_values():
    first, second, never_predicted, absent = classification_report(
        confusion_matrix(PREDICTED, LABELS, classes=4)
    )
    assert (first.precision, first.recall, first.support) == (2 / 4, 2 / 3, 3)
    assert first.f1 == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert (second.precision, second.recall, second.f1, second.support) == (0.5, 0.5, 0.5, 2)
    assert (never_predicted.precision, never_predicted.recall, never_predicted.f1) == (0, 0, 0)
    assert never_predicted.support == 1
    assert (absent.precision, absent.recall, absent.f1, absent.support) == (0, 0, 0, 0)


def test_report_of_random_predictions_satisfies_the_definitions():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(5, size=(2, 1000))
    for k, row in enumerate(classification_report(confusion_matrix(predicted, labels, 5))):
        hits = np.sum((labels == k) & (predicted == k))
        assert row.precision == hits / np.sum(predicted == k)
        assert row.recall == hits / np.sum(labels == k)
        harmonic = 2 / (1 / row.precision + 1 / row.recall)
        assert row.f1 == pytest.approx(harmonic, rel=1e-12)
        assert row.support == np.sum(labels == k)


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        (np.array([0, 1]), np.array([0]), r"one length, got \(2,\) and \(1,\)"),
        (np.eye(3), np.array([0, 1, 2]), "argmax"),  # scores instead of classes
        (np.array([0.0, 1.0]), np.array([0, 1]), "integer classes, got float64"),
        (np.array([0, 3]), np.array([0, 1]), r"predicted holds classes 0\.\.3, wanted 0\.\.2"),
        (np.array([0, 1]), np.array([-1, 1]), r"labels holds classes -1\.\.1, wanted 0\.\.2"),
    ],
)
def test_bad_input_is_named(predicted, labels, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(predicted, labels, classes=3)


def test_accuracy_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        accuracy(np.array([], dtype=int), np.array([], dtype=int))
