"""The suite against reality: the candidates that McHaffie et al. proposed, some measured since.

Source: Table 2 of McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a, and their
section 2.5 for Li9B19S33.
"""

import numpy as np
import pandas as pd
import yaml

from sselib.materials.composition import element_fractions
from sselib.paths import project_root
from sselib.prediction.scorer import Scorer
from sselib.screening.filters import is_known
from sselib.validation.metrics import resample_counts


def published_candidates() -> pd.DataFrame:
    """Return Table 2: formula, icsd, their p_superionic, its sd, band_gap_ev, d_training; log10_measured.

    ``log10_measured`` is log10(S/cm) where a measurement is quoted, else NaN. ``their_`` marks their numbers.
    """
    text = (project_root() / "data" / "mchaffie_table2.yaml").read_text(encoding="utf-8")
    table = pd.DataFrame(yaml.safe_load(text)["candidates"])
    measured = np.log10(table.pop("sigma_ms_cm").astype(float)) - 3
    theirs = ["p_superionic", "p_superionic_sd", "band_gap_ev", "d_training"]
    return table.rename(columns={c: f"their_{c}" for c in theirs}).assign(log10_measured=measured)


def predicted(candidates: pd.DataFrame, scorer: Scorer) -> pd.DataFrame:
    """Return the candidates with what the models say from the formula alone (`Scorer.score`).

    Adds ``is_known`` too: every element within 5 % of a training composition.
    """
    formulas = candidates["formula"].tolist()
    known = is_known(element_fractions(formulas).to_numpy(), scorer.space.fractions)
    return pd.concat([candidates, scorer.score(formulas)], axis=1).assign(is_known=known)


def measured_errors(found: pd.DataFrame, *, mean: float, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Return the mean absolute error on the measured candidates, log10(S/cm), of model and controls.

    ``found`` is the result of `predicted`; ``1nn`` says the value of the nearest training composition,
    ``mean`` the mean of the training rows. Columns: model, mae, ci_low, ci_high (95 %, resampled
    candidates), n. Six candidates: the interval is as wide as that.
    """
    rows = found.dropna(subset="log10_measured").reset_index(drop=True)
    weights = resample_counts(len(rows), n_bootstrap=n_bootstrap, seed=seed)
    says = {"model": rows["log10_sigma"], "1nn": rows["nearest_log10_sigma"], "mean": mean}
    table = []
    for name, values in says.items():
        error = (rows["log10_measured"] - values).abs().to_numpy(float)
        maes = error @ weights / len(rows)
        table.append((name, maes[0], *np.quantile(maes[1:], [0.025, 0.975]), len(rows)))
    return pd.DataFrame(table, columns=["model", "mae", "ci_low", "ci_high", "n"])
