"""How good predictions are: accuracy, confusion matrix, precision, recall and F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 (each in 0..1) of one class, and how many examples it has."""

    precision: float
    recall: float
    f1: float
    support: int


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of predictions that equal their label, in 0..1.

    Args:
        predicted: predicted classes, (N,) integers.
        labels: true classes, (N,) integers.

    Raises:
        ValueError: the two are not integer vectors of one length, or are empty.
    """
    _check_pair(predicted, labels)
    if len(labels) == 0:
        raise ValueError("accuracy of no examples is undefined; pass at least one")
    return float(np.mean(predicted == labels))


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Count every pair of true and predicted class: C[t, p] = #{i : labels_i = t, predicted_i = p}.

    Args:
        predicted: predicted classes, (N,) integers in 0..classes-1.
        labels: true classes, (N,) integers in 0..classes-1.
        classes: the number of classes K.

    Returns:
        (K, K) int64; rows are true classes, columns predicted ones.

    Raises:
        ValueError: shapes or types are wrong, or a class is outside 0..classes-1.
    """
    _check_pair(predicted, labels)
    for name, values in (("predicted", predicted), ("labels", labels)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(
                f"{name} holds classes {values.min()}..{values.max()}, wanted 0..{classes - 1}; "
                "pass the data set's own number of classes"
            )
    # Row-major numbering of the cells (t, p) turns counting pairs into counting integers.
    cells = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def classification_report(confusion: np.ndarray) -> list[ClassMetrics]:
    """Precision, recall, F1 and support of every class, from a confusion matrix.

    precision = TP / predicted as the class, recall = TP / truly of the class,
    F1 = 2·TP / (predicted + true), which is the harmonic mean of the two.
    Where a denominator is zero (a class never predicted, or without examples) the value is 0.0.

    Args:
        confusion: (K, K) counts, rows true, columns predicted.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.metrics.precision_recall_fscore_support.html
    """
    hits = np.diag(confusion)
    predicted = confusion.sum(axis=0)  # (K, K) -> (K,)
    true = confusion.sum(axis=1)  # (K, K) -> (K,)
    precision = _ratio(hits, predicted)
    recall = _ratio(hits, true)
    f1 = _ratio(2 * hits, predicted + true)
    return [
        ClassMetrics(float(p), float(r), float(f), int(n))
        for p, r, f, n in zip(precision, recall, f1, true, strict=True)
    ]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0.0 where the denominator is zero."""
    zeros = np.zeros(len(numerator))
    return np.divide(numerator, denominator, out=zeros, where=denominator != 0)


def _check_pair(predicted: np.ndarray, labels: np.ndarray) -> None:
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(
            f"predicted and labels must be vectors of one length, got {predicted.shape} and "
            f"{labels.shape}; use scores.argmax(axis=1) for the predicted classes"
        )
    if predicted.dtype.kind not in "iu" or labels.dtype.kind not in "iu":
        raise ValueError(
            f"predicted and labels must hold integer classes, got {predicted.dtype} and "
            f"{labels.dtype}; use scores.argmax(axis=1) for the predicted classes"
        )
