"""Prediction intervals of a Gaussian process that hold for rows unlike its training rows.

Errors are taken from training rows that the model did not see: each alone, with its chemical system, with
its family. Inside a known family an interval is the spread of the process times a quantile of error over
spread, taken over all rows; a family with enough rows and larger errors has its own (Mondrian), never a
smaller one. Outside the known families whole families are the unit: the half width covers the wanted share
of the rows in the wanted share of the families that were left out. Sources: Boström, PMLR 179, 24 (2022),
crepes; Papadopoulos et al., J. Artif. Intell. Res. 40, 815 (2011), doi 10.1613/jair.3198; Dunn, Wasserman
and Ramdas, J. Am. Stat. Assoc. 118, 2491 (2023), doi 10.1080/01621459.2022.2060112 (groups as units).
"""

from dataclasses import dataclass

import numpy as np
from crepes import ConformalRegressor

from sselib.features.formula import FAMILY_COLUMNS, FORMULA_COLUMNS, FRACTION_COLUMNS
from sselib.gaussian_process import CompositionGP

MIN_KNOWN = 5  # training rows that make a family known
MIN_OWN = 30  # held-out errors with which a family has intervals of its own
FAMILY_SHARE = 0.8  # of the left-out families in which the wanted share of rows shall be covered
_FAMILY_START = FORMULA_COLUMNS.index(FAMILY_COLUMNS[0])


@dataclass(frozen=True)
class Calibration:
    """Errors of held-out training rows, label minus prediction in log10(S/cm); bounds are left out.

    ``errors``, ``spreads`` and ``families``, shape (n,): rows held out alone and by chemical system.
    ``far_errors``, ``far_families``, shape (m,): rows held out with their family. ``known``: families with
    at least `MIN_KNOWN` training rows.
    """

    errors: np.ndarray
    spreads: np.ndarray
    families: np.ndarray
    far_errors: np.ndarray
    far_families: np.ndarray
    known: frozenset[str]

    def interval(
        self, y_pred: np.ndarray, *, spread: np.ndarray, families: np.ndarray, confidence: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper ends, each of shape (k,), in log10(S/cm)."""
        names, counts = np.unique(self.families, return_counts=True)
        own = np.isin(self.families, names[counts >= MIN_OWN])
        pooled = ConformalRegressor().fit(self.errors, sigmas=self.spreads)
        ends = pooled.predict_int(y_pred, sigmas=spread, confidence=confidence)
        rows = np.isin(families, self.families[own])
        if rows.any():
            fitted = ConformalRegressor().fit(
                self.errors[own], sigmas=self.spreads[own], bins=self.families[own]
            )
            wide = fitted.predict_int(
                y_pred[rows], sigmas=spread[rows], bins=families[rows], confidence=confidence
            )
            ends[rows] = np.c_[np.minimum(ends[rows, 0], wide[:, 0]), np.maximum(ends[rows, 1], wide[:, 1])]
        outside = ~np.isin(families, list(self.known))
        ends[outside] = y_pred[outside, None] + self.outside_half_width(confidence) * np.array([-1, 1])
        return ends[:, 0], ends[:, 1]

    def outside_half_width(self, confidence: float) -> float:
        """Return half the width of an interval outside the known families, log10(S/cm)."""
        widths = [
            _upper_quantile(np.abs(self.far_errors[self.far_families == f]), confidence)
            for f in self.known & set(self.far_families)
        ]
        return _upper_quantile(np.array(widths), FAMILY_SHARE) if widths else float("inf")


def calibrate(model: CompositionGP, X: np.ndarray, y: np.ndarray, *, exact: np.ndarray) -> Calibration:
    """Return the calibration of a process fitted on X (n, f), y (n,); ``exact``: rows that are no bounds.

    X begins with the columns of `sselib.features.formula.formula_features`.
    """
    families, systems = suggested_families(X), _chemical_systems(X)
    near = [model.held_out(g) for g in (np.arange(len(y)), systems)]
    far = model.held_out(families)
    names, counts = np.unique(families, return_counts=True)
    return Calibration(
        errors=np.concatenate([(y - h.mean)[exact] for h in near]),
        spreads=np.concatenate([h.spread[exact] for h in near]),
        families=np.tile(families[exact], 2),
        far_errors=(y - far.mean)[exact],
        far_families=families[exact],
        known=frozenset(names[counts >= MIN_KNOWN]),
    )


def suggested_families(X: np.ndarray) -> np.ndarray:
    """Return the family that each formula suggests, from its columns in X, shape (n,)."""
    flags = np.asarray(X)[:, _FAMILY_START : _FAMILY_START + len(FAMILY_COLUMNS)]
    return np.array([c.removeprefix("suggests_") for c in FAMILY_COLUMNS])[flags.argmax(axis=1)]


def _chemical_systems(X: np.ndarray) -> np.ndarray:
    """Return a number per set of elements, shape (n,)."""
    present = np.asarray(X)[:, : len(FRACTION_COLUMNS)] > 0
    return np.unique(present, axis=0, return_inverse=True)[1].ravel()


def _upper_quantile(values: np.ndarray, share: float) -> float:
    """Return the ceil((n + 1) share)-th smallest value, the largest where there is none."""
    rank = min(len(values), int(np.ceil((len(values) + 1) * share)))
    return float(np.sort(values)[rank - 1])
