"""Boosted trees that know a bound from a value: "below 1e-10 S/cm" trains as an interval, not as a number.

XGBoost's accelerated failure time objective models ln of a positive quantity. Conductivity in units of
1e-20 S/cm is one; its natural logarithm is a shifted, scaled log10. Source: Barnwal, Cho and Hocking,
J. Comput. Graph. Stat. 31, 1292 (2022), doi 10.1080/10618600.2022.2067548.
"""

from collections.abc import Mapping

import numpy as np
import xgboost as xgb
from sklearn.base import BaseEstimator, RegressorMixin

LOG10_UNIT = -20.0  # log10(S/cm); below every measured conductivity
_NOISE = 0.7  # log10 units, standard deviation of the normal error in the likelihood


class BoundedBooster(RegressorMixin, BaseEstimator):
    """Boosted trees with a normal likelihood of values and of upper bounds.

    ``settings`` are XGBoost's, as scikit-learn names them, with ``n_estimators``.
    """

    def __init__(self, *, settings: Mapping[str, float], random_state: int = 0) -> None:
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray, *, censored: np.ndarray | None = None) -> "BoundedBooster":
        """Learn from X (n, f), y (n,) in log10(S/cm) and ``censored`` (n,): True where y is a bound."""
        y = np.asarray(y, float)
        bound = np.zeros(len(y), bool) if censored is None else np.asarray(censored, bool)
        natural = np.log(10) * (y - LOG10_UNIT)
        data = xgb.DMatrix(np.asarray(X, float))
        data.set_float_info("label_lower_bound", np.where(bound, 0.0, np.exp(natural)))
        data.set_float_info("label_upper_bound", np.exp(natural))
        settings = dict(self.settings)
        rounds = int(settings.pop("n_estimators"))
        likelihood = {
            "objective": "survival:aft",
            "aft_loss_distribution": "normal",
            "aft_loss_distribution_scale": _NOISE * np.log(10),
            "base_score": float(np.exp(np.median(natural))),
        }
        machine = {"tree_method": "hist", "nthread": 1, "seed": self.random_state}
        self.booster_ = xgb.train({**settings, **likelihood, **machine}, data, rounds)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return log10(S/cm), shape (m,)."""
        raw = self.booster_.predict(xgb.DMatrix(np.asarray(X, float)), output_margin=True)
        return raw.astype(float) / np.log(10) + LOG10_UNIT
