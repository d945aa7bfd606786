"""The suite against reality: the candidates that McHaffie et al. proposed, some measured since.

Source: Table 2 of McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a, and their
section 2.5 for Li9B19S33. The saved models of notebooks 04 and 06 have seen most of these compounds, or some
next to them; so the same kinds of model are also trained on the rows that are left once every row near a
candidate is out.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import yaml

from sselib.atomsets.superionic_model import fitted_like
from sselib.columns import Entry
from sselib.materials.composition import element_fractions, l1_distances
from sselib.paths import project_root
from sselib.prediction.applicability import training_space
from sselib.prediction.scorer import Scorer
from sselib.regression.conductivity_model import train_conductivity_model
from sselib.screening.filters import is_known
from sselib.validation.metrics import resample_counts

SAVED, BLIND = "saved models", "without relatives"


def published_candidates() -> pd.DataFrame:
    """Return Table 2: formula, icsd, their p_superionic, its sd, band_gap_ev, d_training; log10_measured.

    ``log10_measured`` is log10(S/cm) where a measurement is quoted, else NaN. ``their_`` marks their numbers.
    """
    text = (project_root() / "data" / "mchaffie_table2.yaml").read_text(encoding="utf-8")
    table = pd.DataFrame(yaml.safe_load(text)["candidates"])
    measured = np.log10(table.pop("sigma_ms_cm").astype(float)) - 3
    theirs = ["p_superionic", "p_superionic_sd", "band_gap_ev", "d_training"]
    return table.rename(columns={c: f"their_{c}" for c in theirs}).assign(log10_measured=measured)


def published_predicted(scorer: Scorer, curated: pd.DataFrame, *, distance: float, seed: int) -> pd.DataFrame:
    """Return Table 2 with what the models say from the formula alone (`Scorer.score`), once for each of two.

    ``models`` is `SAVED` or `BLIND`: trained without every material within ``distance`` (L1 of mole
    fractions) of one of the candidates, ``n_removed`` of them near this one. ``is_known``: every element
    within 5 % of a training composition. ``curated`` is the table of notebook 01.
    """
    table = published_candidates()
    formulas = table["formula"].tolist()
    blind, n_removed = without_relatives(formulas, scorer, curated=curated, distance=distance, seed=seed)
    fractions = element_fractions(formulas).to_numpy()
    parts = [
        pd.concat([table, models.score(formulas)], axis=1).assign(
            is_known=is_known(fractions, models.space.fractions), n_removed=n_removed, models=name
        )
        for name, models in ((SAVED, scorer), (BLIND, blind))
    ]
    return pd.concat(parts, ignore_index=True)


def without_relatives(
    formulas: Sequence[str], scorer: Scorer, *, curated: pd.DataFrame, distance: float, seed: int
) -> tuple[Scorer, np.ndarray]:
    """Return models of formulas like those of ``scorer``, trained without any relative of any formula.

    Also the number of each formula's relatives, (n,): materials of ``curated``, the table of notebook 01,
    within ``distance`` (L1 of mole fractions, 0 to 2). The calibration of the probabilities stays.
    """
    fractions = element_fractions(list(formulas)).to_numpy()
    known = element_fractions(list(curated[Entry.COMPOSITION])).to_numpy()
    close = l1_distances(fractions, known) <= distance
    rest = curated[~close.any(axis=0)].reset_index(drop=True)
    conductivity = train_conductivity_model(rest, seed=seed)
    again = replace(
        scorer,
        by_formula=conductivity,
        by_structure=None,
        superionic=fitted_like(scorer.superionic, rest),
        space=training_space(conductivity.training),
    )
    return again, close.sum(axis=1)


def side_by_side(found: pd.DataFrame) -> pd.DataFrame:
    """Return `published_predicted` with one row a candidate: log10_blind and p_blind beside the saved."""
    saved, blind = (found[found["models"] == name].set_index("formula") for name in (SAVED, BLIND))
    both = saved.assign(log10_blind=blind["log10_sigma"], p_blind=blind["p_superionic"])
    return both.reset_index()


def measured_errors(found: pd.DataFrame, *, mean: float, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Return the mean absolute error on the measured candidates, log10(S/cm), of models and controls.

    ``found`` is the result of `published_predicted`; ``1nn`` says the value of the nearest training
    composition, ``mean`` the mean of the training rows. Columns: models, model, mae, ci_low, ci_high (95 %,
    resampled candidates), n. Six candidates: the interval is as wide as that.
    """
    table = []
    for models, part in found.dropna(subset="log10_measured").groupby("models", sort=False):
        weights = resample_counts(len(part), n_bootstrap=n_bootstrap, seed=seed)
        says = {"model": part["log10_sigma"], "1nn": part["nearest_log10_sigma"], "mean": mean}
        for name, values in says.items():
            error = (part["log10_measured"] - values).abs().to_numpy(float)
            maes = error @ weights / len(part)
            table.append((models, name, maes[0], *np.quantile(maes[1:], [0.025, 0.975]), len(part)))
    return pd.DataFrame(table, columns=["models", "model", "mae", "ci_low", "ci_high", "n"])
