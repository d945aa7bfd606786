"""Why a candidate is ranked where it is: contributions, its nearest relatives, and what is new about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sselib.columns import Entry
from sselib.features.formula import formula_features
from sselib.materials.composition import element_fractions, l1_distances
from sselib.prediction.applicability import TrainingSpace
from sselib.prediction.scorer import Scorer

_SAME = 1e-6  # how far outside the training range counts as outside, relative to the range


@dataclass(frozen=True)
class Explanation:
    """``contributions``: feature, value, shap (log10(S/cm)), largest first, the rest summed as "other";
    ``base`` the mean prediction; ``nearest``: id, formula, log10_sigma, censored, distance; ``outside``:
    feature, value, low, high of the training rows; ``sentence`` the same in words.
    """

    formula: str
    base: float
    contributions: pd.DataFrame
    nearest: pd.DataFrame
    outside: pd.DataFrame
    sentence: str


def explain_candidates(
    rows: pd.DataFrame,
    scorer: Scorer,
    *,
    n_features: int = 8,
    n_nearest: int = 3,
) -> list[Explanation]:
    """Return an explanation of each row of a screening (columns formula, log10_sigma, lower, upper, ...)."""
    formulas = rows["formula"].tolist()
    if not formulas:
        return []
    features = formula_features(formulas)
    known = formula_features(list(scorer.space.table["plain"]))
    values = scorer.by_formula.explain(formulas)
    found = []
    for k, row in enumerate(rows.to_dict("records")):
        parts = (
            _contributions(values.iloc[k], features.iloc[k], n_features),
            nearest_training(row["formula"], scorer.space, n=n_nearest),
            outside_range(features.iloc[k], known),
        )
        base = float(values["base"].iloc[k])
        found.append(Explanation(row["formula"], base, *parts, describe(row, *parts)))
    return found


def _contributions(values: pd.Series, features: pd.Series, n: int) -> pd.DataFrame:
    """Return the ``n`` largest SHAP values of one formula, and the sum of the others."""
    shap = values.drop("base").astype(float)
    order = shap.abs().sort_values(ascending=False, kind="stable").index
    top, rest = order[:n], order[n:]
    table = pd.DataFrame({"feature": top, "value": features.reindex(top).to_numpy(float), "shap": shap[top]})
    other = pd.DataFrame({"feature": ["other"], "value": [np.nan], "shap": [shap[rest].sum()]})
    return pd.concat([table, other], ignore_index=True)


def nearest_training(formula: str, space: TrainingSpace, *, n: int = 3) -> pd.DataFrame:
    """Return the ``n`` nearest training compositions: id, formula, log10_sigma, censored, distance.

    The distance is the L1 distance of mole fractions, 0 to 2.
    """
    distance = l1_distances(element_fractions([formula]).to_numpy(), space.fractions)[0]
    order = np.argsort(distance, kind="stable")[:n]
    columns = [Entry.ID, Entry.FORMULA, Entry.LOG10_SIGMA, Entry.CENSORED]
    return space.table.iloc[order][columns].assign(distance=distance[order]).reset_index(drop=True)


def outside_range(features: pd.Series, known: pd.DataFrame) -> pd.DataFrame:
    """Return the features outside the range of the training rows: feature, value, low, high."""
    low, high = known.min(), known.max()
    margin = _SAME * (high - low).clip(lower=1e-9)
    out = (features < low - margin) | (features > high + margin)
    names = features.index[out.to_numpy()]
    columns = {"feature": names, "value": features[names], "low": low[names], "high": high[names]}
    return pd.DataFrame(columns).reset_index(drop=True)


def describe(
    row: dict[str, object], contributions: pd.DataFrame, nearest: pd.DataFrame, outside: pd.DataFrame
) -> str:
    """Return one or two plain sentences about a candidate, every number from the tables."""
    first = nearest.iloc[0]
    bound = "at most " if first[Entry.CENSORED] else ""
    named = contributions[contributions["feature"] != "other"]
    up = [reason(f, v) for f, v in named.loc[named["shap"] > 0, ["feature", "value"]].head(2).to_numpy()]
    down = [reason(f, v) for f, v in named.loc[named["shap"] < 0, ["feature", "value"]].head(1).to_numpy()]
    reasons = [f"{' and '.join(up)} raise it" if len(up) > 1 else f"{up[0]} raises it"] if up else []
    reasons += [f"{down[0]} lowers it"] if down else []
    new = f"; outside the training range: {', '.join(feature_words(f) for f in outside['feature'].head(3))}"
    sigma, lower = float(row["log10_sigma"]), float(row["lower"])
    from_formula = float(row.get("sigma_formula", sigma))
    also = f" (from its structure; {from_formula:.1f} from the formula, which is explained here)"
    return (
        f"{row['formula']} is predicted at {10 ** (sigma + 3):.2g} mS/cm, log10(S/cm) {sigma:.1f}"
        f"{also if abs(from_formula - sigma) >= 0.005 else ''} with a 90 % interval from {lower:.1f} "
        f"to {float(row['upper']):.1f}, superionic with probability {float(row['p_superionic']):.3f} "
        f"± {float(row['p_superionic_sd']):.3f}; "
        f"{', '.join(reasons)}. Nearest known: {first[Entry.FORMULA]}, measured {bound}"
        f"{10 ** (float(first[Entry.LOG10_SIGMA]) + 3):.2g} mS/cm, distance {first['distance']:.2f}"
        f"{new if len(outside) else ''}."
    )


_UNITS = {
    "_per_angstrom2": "Å⁻²",
    "_per_angstrom": "Å⁻¹",
    "_angstrom3": "Å³",
    "_angstrom": "Å",
    "_u": "u",
    "_ev": "eV",
}
_STATISTICS = {"mean": "mean", "std": "spread of", "min": "smallest", "max": "largest"}
_QUANTITIES = {"state": "oxidation state", "potential": "ionic potential", "field": "field strength"}
_STATISTIC_OF = re.compile("(cation|anion)_(mean|std|min|max)_(.+)")


def reason(feature: str, value: float) -> str:
    """Return a feature as a reason: one that is 0 counts by its absence, so "no O" or "not oxide other"."""
    if value == 0 and feature.startswith("mole_fraction_"):
        return f"no {feature.removeprefix('mole_fraction_')}"
    if value == 0 and feature.startswith("suggests_"):
        return f"not {feature_words(feature).removeprefix('family ')}"
    return feature_words(feature)


def with_unit(feature: str) -> str:
    """Return a feature's name as words, with its unit if it has one."""
    unit = next((shown for ending, shown in _UNITS.items() if feature.endswith(ending)), "")
    return feature_words(feature) + (f" / {unit}" if unit else "")


def feature_words(feature: str) -> str:
    """Return a feature's name as words: ``mole_fraction_Li`` is "Li content"."""
    if feature.startswith("mole_fraction_"):
        return f"{feature.removeprefix('mole_fraction_')} content"
    if feature.startswith("suggests_"):
        return f"family {feature.removeprefix('suggests_').replace('_', ' ')}"
    for ending in _UNITS:
        feature = feature.removesuffix(ending)
    statistic = _STATISTIC_OF.fullmatch(feature)
    if statistic:
        ion, name, quantity = statistic.groups()
        feature = f"{_STATISTICS[name]} {ion} {_QUANTITIES.get(quantity, quantity)}"
    return feature.replace("_", " ")


def contribution_rows(explanations: Sequence[Explanation]) -> pd.DataFrame:
    """Return the contributions of all explanations in one table, with a column ``formula``."""
    tables = [e.contributions.assign(formula=e.formula, base=e.base) for e in explanations]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
