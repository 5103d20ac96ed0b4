"""A linear classifier in closed form: shrunken discriminant analysis, from which training by gradients starts."""

from __future__ import annotations

import torch

_ROWS = 4096
"""Features that are widened to double precision at once."""
_LEAST_SHRINKAGE = 1e-3


def discriminant(features: torch.Tensor, labels: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (classes, D) and bias (classes,), float64, from features (N, D) of comparable scale and labels (N,).

    Linear discriminant analysis with equal priors. The covariance within the labels is shrunk towards a multiple of
    the identity as far as Ledoit and Wolf (2004) say, so that few pictures of many features do no harm. Only the
    smaller of its N x N and D x D forms is ever built. A label without pictures gets zeros.
    """
    counts = torch.bincount(labels, minlength=classes).double().unsqueeze(1)
    means = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    for rows, known in zip(features.split(_ROWS), labels.split(_ROWS), strict=True):
        means.index_add_(0, known, rows.double())
    means /= counts.clamp(min=1)
    middle = means[counts[:, 0] > 0].mean(dim=0)
    apart = (means - middle) * (counts > 0)
    values, vectors, identity = _covariance(features, labels, means)
    inside = apart @ vectors
    outside = apart - inside @ vectors.T  # has no covariance but the identity's share
    weight = (inside / (values + identity)) @ vectors.T + outside / identity
    return weight, -weight @ middle - 0.5 * (weight * apart).sum(dim=1)


def _covariance(
    features: torch.Tensor, labels: torch.Tensor, means: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Eigenvalues (R,) and orthonormal eigenvectors (D, R) of the shrunken covariance, without the identity's share."""
    count, width = features.shape
    fourth = 0.0
    if count < width:
        rows = features.double() - means[labels]
        fourth = float(rows.square().sum(dim=1).square().sum())
        values, inner = torch.linalg.eigh(rows @ rows.T / count)
        kept = values > 1e-10 * values[-1]
        values = values[kept]
        vectors = rows.T @ inner[:, kept] / (count * values).sqrt()
    else:
        square = torch.zeros(width, width, dtype=torch.float64, device=features.device)
        for part, known in zip(features.split(_ROWS), labels.split(_ROWS), strict=True):
            rows = part.double() - means[known]
            fourth += float(rows.square().sum(dim=1).square().sum())
            square.addmm_(rows.T, rows)
        values, vectors = torch.linalg.eigh(square / count)
        values = values.clamp(min=0)
    level, squares = float(values.sum()) / width, float(values.square().sum())
    if level == 0:  # one picture of each label, say: nothing is known but the distances
        return values, vectors, 1.0
    spread = squares / width - level**2
    noise = (fourth / count - squares) / (count * width)
    shrinkage = min(1.0, max(_LEAST_SHRINKAGE, noise / spread if spread > 0 else 1.0))
    return (1 - shrinkage) * values, vectors, shrinkage * level
