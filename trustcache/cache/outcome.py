"""The outcome of a classification by the classifier's logits: prediction, correctness, true-class probability."""

from __future__ import annotations

import numpy as np


def outcome(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of a cache that follow from logits (N, K), before these are rounded, and labels (N,) int64.

    >>> outcome(np.array([[0.0, 1.0]], np.float32), np.array([1]))["predictions"]
    array([1])
    """
    predictions = logits.argmax(axis=1).astype(np.int64)
    return {
        "labels": labels,
        "predictions": predictions,
        "correct": predictions == labels,
        "true_class_prob": _softmax_at(logits, labels),
    }


def _softmax_at(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chosen = np.exp(shifted[np.arange(len(labels)), labels])
    return (chosen / np.exp(shifted).sum(axis=1)).astype(np.float32)
