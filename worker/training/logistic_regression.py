"""Regularised logistic regression: a linear classifier to start from, solved without a learning rate."""

from __future__ import annotations

from collections.abc import Callable

import torch

from worker.training import truths

_ROUNDS, _FEWEST_ROUNDS = 200, 20
"""Maximum and minimum number of evaluations of the whole loss; a few dozen are usual."""
_WORK = 5e11
"""Multiplications after which only the minimum of rounds is run: about a minute of one core. The epochs continue from
there."""


def regression(
    features: torch.Tensor, labels: torch.Tensor, counting: torch.Tensor, biased: bool,
    check: Callable[[], None] = lambda: None, strength: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return weight (C, D) and bias (C,) from features (N, D) of about unit variance, and truths of either kind.

    It minimises the summed loss, in which `counting` (C,) is the result of `truths.balance`, plus `strength`
    times half the squared weights: scikit-learn's loss with C = 1 / strength. If there are fewer pictures than features
    it works within the span of the pictures, because the remaining weights would be zero anyway. `check` is called in
    every round, and may raise.
    """
    reduced, back = _span(features) if len(features) < features.shape[1] else (features, None)
    weight = torch.zeros(len(counting), reduced.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(len(counting), device=features.device, requires_grad=biased)
    rounds = max(_FEWEST_ROUNDS, min(_ROUNDS, int(_WORK / (weight.numel() * len(labels)))))
    solver = torch.optim.LBFGS(
        [weight, bias] if biased else [weight], max_iter=rounds, max_eval=rounds, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        check()
        solver.zero_grad()
        # Per picture, because the solver's tolerances are absolute.
        wrong = truths.losses(torch.addmm(bias, reduced, weight.T), labels, counting).sum()
        value = (wrong + 0.5 * strength * weight.square().sum()) / len(labels)
        value.backward()
        return value

    solver.step(loss)
    solution = weight.detach()
    return solution if back is None else solution @ back, bias.detach()


def _span(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return coordinates (N, R) in the span of the rows, and the orthonormal basis (R, D) that leads back."""
    wide = features.double()
    values, vectors = torch.linalg.eigh(wide @ wide.T)
    significant = values > 1e-9 * values[-1].clamp(min=1e-30)
    sides = values[significant].sqrt()
    coordinates = vectors[:, significant] * sides
    return coordinates.float(), (coordinates.T @ wide / values[significant].unsqueeze(1)).float()
