"""scikit-learn: a logistic regression with its default strength on the features of the base."""

from __future__ import annotations

import time

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from bench.training import figures
from bench.training.base import Base
from bench.training.contestants import Answer
from bench.training.tasks import Draw

_ROUNDS = 5000
"""Enough to converge; with the default of 100 scikit-learn warns."""
_FOLDS = 5


class Regression:
    """Logistic regression; it doubts labels in cleanlab's order."""

    name = "scikit-learn"

    def __init__(self, base: Base) -> None:
        self._base = base

    def learn(self, draw: Draw) -> Answer:
        """Fit, and answer the held back pictures."""
        seen = self._base.features([picture.data for picture in draw.training])
        asked = self._base.features([picture.data for picture in draw.held_back])
        began = time.perf_counter()
        classifier = LogisticRegression(C=1.0, max_iter=_ROUNDS).fit(seen, draw.given)
        seconds = time.perf_counter() - began + self._base.seconds_per_picture * len(seen)
        suspects = None
        if draw.flipped:
            folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=draw.seed)
            scores = cross_val_predict(classifier, seen, draw.given, cv=folds, method="predict_proba")
            suspects = [draw.training[number].name for number in figures.least_self_confident(scores, draw.given)]
        return Answer(classifier.predict_proba(asked), seconds, suspects=suspects)
