"""Prediction intervals from the errors of held-out rows, wider where a row is far from the training rows.

Normalised split-conformal intervals of crepes: the error of a row divided by its difficulty is compared
with those of calibration rows. Source: Boström, COPA 2022, PMLR 179, 24; Papadopoulos et al., J. Artif.
Intell. Res. 40, 815 (2011), doi 10.1613/jair.3198.
"""

from dataclasses import dataclass

import numpy as np
from crepes import ConformalRegressor


@dataclass(frozen=True)
class Calibration:
    """Held-out rows that intervals are calibrated on.

    ``residuals``: label minus prediction, log10(S/cm), shape (n,); ``difficulty``: the expected size of the
    error of each, in the same unit, shape (n,), positive.
    """

    residuals: np.ndarray
    difficulty: np.ndarray

    def interval(
        self, y_pred: np.ndarray, *, difficulty: np.ndarray, confidence: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper ends, each of shape (m,), in log10(S/cm)."""
        fitted = ConformalRegressor().fit(self.residuals, sigmas=self.difficulty)
        ends = fitted.predict_int(y_pred, sigmas=difficulty, confidence=confidence)
        return ends[:, 0], ends[:, 1]
