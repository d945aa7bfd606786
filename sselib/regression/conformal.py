"""Prediction intervals of a Gaussian process that hold for rows unlike its training rows.

Errors are taken from training rows that the model did not see: each alone, with its chemical system, with
its family. Inside a known family an interval is the spread of the process times a quantile of error over
spread, taken over all rows, or over those of its family where they are enough (Mondrian).
A family is known where training rows carry it as their label: what a formula suggests alone
can go by a sibling's name (half of Li-P-S is "thio-LISICON" to a formula), and would then borrow intervals
that were made for relatives. A member of a family that nobody measured can hide behind a known name in the
same way. Where the name that formulas suggest and the labels of the training rows often differ
(`agreement`), an interval therefore reaches at least as far as the errors of training rows that go by
another family's name, made without the family of their label (``hidden_errors``): it holds for both kinds
of rows that the name may stand for. Those errors are taken as they are, because the spread of the process
knows nothing of a hidden family.
Outside the known families whole families are the unit (two layers): each end lies so far from the
prediction that the wanted share of rows is covered in the wanted share of the families that were left out.
There the errors are those of the model that predicts there, made without the family (`calibrate`, ``far``).
No end lies farther out than a unit beyond the labels seen. Labels, errors and ends are on the scale that
the process learnt on: log10(S/cm) or one that grows with it.

Sources: Boström, PMLR 179, 24 (2022), crepes; Papadopoulos et al., J. Artif. Intell. Res. 40, 815 (2011),
doi 10.1613/jair.3198; Dunn, Wasserman and Ramdas, J. Am. Stat. Assoc. 118, 2491 (2023),
doi 10.1080/01621459.2022.2060112 (groups as units, double conformal).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from crepes import ConformalRegressor

from sselib.features.formula import FAMILY_COLUMNS, FORMULA_COLUMNS, FRACTION_COLUMNS
from sselib.regression.gaussian_process import CompositionGP

MIN_KNOWN = 5  # training rows that make a family known
MIN_OWN = 30  # held-out errors with which a family has intervals of its own
VERSION = 2  # raised where the same rows get other intervals, so that kept results are made anew
BEYOND_LABELS = 1.0  # log10 units; how far an interval may reach beyond the lowest and the highest label
_FAMILY_START = FORMULA_COLUMNS.index(FAMILY_COLUMNS[0])


@dataclass(frozen=True)
class IntervalCalibration:
    """Errors of held-out training rows, label minus prediction on the process's scale; bounds are left out.

    ``errors``, ``spreads`` and ``families``, shape (n,): rows held out alone and by chemical system, with
    the family that their formula suggests. ``far_errors``, ``far_families``, shape (m,): rows held out with
    the family of their label. ``hidden_errors``, shape (h,): errors of the process on those of them that go
    by the name of another known family. ``agreement``: see there, by family. ``known``: families with at
    least `MIN_KNOWN` training rows. ``lowest``, ``highest``: the range of the labels.
    """

    errors: np.ndarray
    spreads: np.ndarray
    families: np.ndarray
    far_errors: np.ndarray
    far_families: np.ndarray
    hidden_errors: np.ndarray
    agreement: Mapping[str, float]
    known: frozenset[str]
    lowest: float
    highest: float

    def interval(
        self, y_pred: np.ndarray, *, spread: np.ndarray, families: np.ndarray, confidence: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper ends, each of shape (k,), on the scale of ``y_pred``.

        ``families`` (k,) is what the formulas suggest.
        """
        ends = self._inside(y_pred, spread=spread, families=families, confidence=confidence)
        doubtful = self.doubtful(families, confidence)
        if doubtful.any() and len(self.hidden_errors):
            reach = _upper_quantile(np.abs(self.hidden_errors), confidence)
            ends[doubtful] = _union(ends[doubtful], y_pred[doubtful, None] + [-reach, reach])
        outside = self.outside(families)
        ends[outside] = y_pred[outside, None] + self.outside_offsets(confidence)
        lower = np.maximum(ends[:, 0], self.lowest - BEYOND_LABELS)
        upper = np.minimum(ends[:, 1], self.highest + BEYOND_LABELS)
        return np.minimum(lower, y_pred), np.maximum(upper, y_pred)

    def _inside(
        self, y_pred: np.ndarray, *, spread: np.ndarray, families: np.ndarray, confidence: float
    ) -> np.ndarray:
        """Return the ends for rows whose family is what their formula suggests, shape (k, 2)."""
        names, counts = np.unique(self.families, return_counts=True)
        own = np.isin(self.families, names[counts >= MIN_OWN])
        pooled = ConformalRegressor().fit(self.errors, sigmas=self.spreads)
        ends = pooled.predict_int(y_pred, sigmas=spread, confidence=confidence)
        rows = np.isin(families, self.families[own])
        if rows.any():
            fitted = ConformalRegressor().fit(
                self.errors[own], sigmas=self.spreads[own], bins=self.families[own]
            )
            ends[rows] = fitted.predict_int(
                y_pred[rows], sigmas=spread[rows], bins=families[rows], confidence=confidence
            )
        return ends

    def doubtful(self, families: np.ndarray, confidence: float) -> np.ndarray:
        """Return which rows go by a known name that their label may well contradict, shape (k,).

        Those of families whose `agreement` is below ``confidence``: of the rows that the name or the label
        gives, more than the interval may miss have only one of them.
        """
        names = [f for f, share in self.agreement.items() if share < confidence]
        return np.isin(families, names) & ~self.outside(families)

    def outside(self, families: np.ndarray) -> np.ndarray:
        """Return which rows lie outside the known families, shape (k,)."""
        return ~np.isin(families, list(self.known))

    def outside_offsets(self, confidence: float) -> np.ndarray:
        """Return how far both ends lie from a prediction outside the known families."""
        share = (1 + confidence) / 2
        errors = [self.far_errors[self.far_families == f] for f in self.known & set(self.far_families)]
        if not errors:
            return np.array([-np.inf, np.inf])
        below = _upper_quantile(np.array([_upper_quantile(-e, share) for e in errors]), confidence)
        above = _upper_quantile(np.array([_upper_quantile(e, share) for e in errors]), confidence)
        return np.array([-below, above])


def calibrate(
    model: CompositionGP,
    X: np.ndarray,
    y: np.ndarray,
    *,
    exact: np.ndarray,
    families: np.ndarray | None = None,
    far: np.ndarray | None = None,
) -> IntervalCalibration:
    """Return the calibration of a process fitted on X (n, f), y (n,); ``exact``: rows that are no bounds.

    X begins with the columns of `sselib.features.formula.formula_features`; ``families`` (n,) are the
    families of the labels, by default those that the formulas suggest. ``far`` (n,) is what the model that
    predicts outside the known families says of each row without its family (NaN: not known), by default
    what the process says.
    """
    suggested = suggested_families(X)
    labelled = suggested if families is None else np.asarray(families, str)
    near = [model.held_out(g) for g in (np.arange(len(y)), _chemical_systems(X))]
    without_family = model.held_out(labelled).mean
    far = without_family if far is None else far
    judged = exact & np.isfinite(far)
    names, counts = np.unique(labelled, return_counts=True)
    known = names[counts >= MIN_KNOWN]
    hidden = exact & (suggested != labelled) & np.isin(suggested, known)
    return IntervalCalibration(
        errors=np.concatenate([(y - h.mean)[exact] for h in near]),
        spreads=np.concatenate([h.spread[exact] for h in near]),
        families=np.tile(suggested[exact], 2),
        far_errors=(y - far)[judged],
        far_families=labelled[judged],
        hidden_errors=(y - without_family)[hidden],
        agreement=agreement(suggested, labelled),
        known=frozenset(known),
        lowest=float(y.min()),
        highest=float(y.max()),
    )


def suggested_families(X: np.ndarray) -> np.ndarray:
    """Return the family that each formula suggests, from its columns in X, shape (n,)."""
    flags = np.asarray(X)[:, _FAMILY_START : _FAMILY_START + len(FAMILY_COLUMNS)]
    return np.array([c.removeprefix("suggests_") for c in FAMILY_COLUMNS])[flags.argmax(axis=1)]


def agreement(suggested: np.ndarray, labelled: np.ndarray) -> dict[str, float]:
    """Return by family the share of rows with name and label among those with one of them (Jaccard index).

    ``suggested``, ``labelled``: the family that the formula of a row suggests, and that of its label, (n,).
    """
    both = {f: (suggested == f, labelled == f) for f in np.unique(np.concatenate([suggested, labelled]))}
    return {str(f): float((name & label).sum() / (name | label).sum()) for f, (name, label) in both.items()}


def _union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the outer ends of two sets of intervals, each (k, 2)."""
    return np.c_[np.minimum(first[:, 0], second[:, 0]), np.maximum(first[:, 1], second[:, 1])]


def _chemical_systems(X: np.ndarray) -> np.ndarray:
    """Return a number per set of elements, shape (n,)."""
    present = np.asarray(X)[:, : len(FRACTION_COLUMNS)] > 0
    return np.unique(present, axis=0, return_inverse=True)[1].ravel()


def _upper_quantile(values: np.ndarray, share: float) -> float:
    """Return the ceil((n + 1) share)-th smallest value, the largest where there is none."""
    rank = min(len(values), int(np.ceil((len(values) + 1) * share)))
    return float(np.sort(values)[rank - 1])
