"""Tables of notebook 06 for reading: what the models are, scores by protocol, goals, clusters.

A score stands above its 95 % interval in one cell, so that a table with one column per protocol fits a page.
"""

import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from pymatgen.core import Structure

from sselib.atomsets.classifiers import CENTRED, CHOSEN, CONTROLS
from sselib.errors import ParameterError
from sselib.materials.oxidation import rule_counts
from sselib.plots.models import PROTOCOL_LABELS

METRIC_NAMES: Mapping[str, str] = {"auc_pr": "AUC-PR", "mcc": "MCC", "brier": "Brier"}


@dataclass(frozen=True)
class ModelText:
    """What learns, what it sees, and whether it also learns from rows without a structure."""

    learner: str
    sees: str
    all_rows: bool = False


MODEL_TEXTS: Mapping[str, ModelText] = {
    "xgb/composition": ModelText("gradient boosting", "mole fractions of the elements"),
    "xgb/all": ModelText(
        "gradient boosting", "every feature of notebook 03, those of the structure included"
    ),
    "extra_trees/lattice_all_rows": ModelText(
        "randomised trees", "mole fractions, statistics of element properties, lengths of the cell", True
    ),
    "xgb/elements_all_rows": ModelText(
        "gradient boosting", "mole fractions and statistics of element properties", True
    ),
    "xgb_sigma/elements_all_rows": ModelText(
        "gradient boosting of log10(σ), turned into a probability",
        "mole fractions and statistics of element properties",
        True,
    ),
    "gp_sigma/environment_all_rows": ModelText(
        "Gaussian process of log10(σ): share of its spread above the limit",
        "mole fractions, properties of the ions; of the structure density, symmetry, disorder, Li sites",
        True,
    ),
    "logistic/sendek": ModelText("logistic regression", "the 20 features of Sendek et al. (2017)"),
    "logistic/pooled_v1": ModelText(
        "logistic regression", "mean and standard deviation over the sites of MEGNet's V1"
    ),
    "logistic/pooled_chgnet_v1": ModelText(
        "logistic regression", "mean and standard deviation over the sites of CHGNet's V1"
    ),
    "atomsets/v1": ModelText("AtomSets network", "site features after MEGNet's first convolution"),
    "atomsets/v0123_occupancy": ModelText(
        "AtomSets network", "site features after all of MEGNet's layers, occupancies of the site"
    ),
    "atomsets/chgnet_v1": ModelText("AtomSets network", "site features after CHGNet's first convolution"),
    "blend/atomsets+xgb": ModelText(
        "mean probability of two models", "atomsets/v0123_occupancy and xgb/all, weights fixed in advance"
    ),
    CHOSEN: ModelText(
        "mean logit of some models", "members and limit chosen on inner folds of the training rows", True
    ),
    CENTRED: ModelText(
        "the same members", "but the limit is the mean logit of all rows that are judged together", True
    ),
    "mean/none": ModelText("control: mean", "share of superionic training rows"),
    "1nn/composition": ModelText("control: 1nn", "label of the nearest training composition"),
    "shuffled/all": ModelText("control: shuffled", "gradient boosting trained on permuted labels"),
}


@dataclass(frozen=True)
class Goal:
    """What was to be reached under a protocol, and by which model; set before the models were scored."""

    protocol: str
    metric: str
    least: float
    model: str


GOALS: tuple[Goal, ...] = (
    Goal("obelix_official", "auc_pr", 0.85, CHOSEN),
    Goal("obelix_official", "mcc", 0.65, CHOSEN),
    Goal("group_material", "mcc", 0.58, CHOSEN),
    Goal("loco", "auc_pr", 0.78, CENTRED),
    Goal("loco", "mcc", 0.45, CENTRED),
)


def model_table(names: Sequence[str]) -> pd.DataFrame:
    """Return what each model ("model/features") is, one row per name, in words.

    Raises `ParameterError` for a name without a description.
    """
    unknown = [n for n in names if n not in MODEL_TEXTS]
    if unknown:
        raise ParameterError(f"no description of {', '.join(unknown)}: expected names of MODEL_TEXTS")
    texts = [MODEL_TEXTS[n] for n in names]
    return pd.DataFrame(
        {
            "model/features": list(names),
            "what learns": [t.learner for t in texts],
            "from what": [t.sees for t in texts],
            "without structure": ["also" if t.all_rows else "" for t in texts],
        }
    )


def scores_by_protocol(scores: pd.DataFrame, *, metric: str, protocols: Sequence[str]) -> pd.DataFrame:
    """Return one row per model and one column per protocol: the value above its 95 % interval.

    ``scores`` are metric records of one data set with a column ``name`` ("model/features"); the last row
    is the number of rows that are judged.
    """
    rows = scores[(scores["metric"] == metric) & scores["protocol"].isin(protocols)]
    texts = rows.assign(text=[_cell(*v) for v in rows[["value", "ci_low", "ci_high"]].to_numpy(float)])
    names = _controls_last(rows["name"])
    wide = texts.pivot_table(index="name", columns="protocol", values="text", aggfunc="first")
    wide = wide.reindex(index=names, columns=[p for p in protocols if p in wide])
    counts = rows.groupby("protocol")["n"].max().reindex(wide.columns)
    wide.loc["rows judged"] = [f"{n:.0f}" for n in counts]
    wide.columns = [PROTOCOL_LABELS.get(p, p) for p in wide.columns]
    return wide.fillna("").rename_axis(column_name(metric))


def column_name(name: str) -> str:
    """Return the heading of a column or metric, e.g. "MCC − 1nn" for delta_mcc_vs_1nn."""
    if name.startswith("delta_"):
        metric, _, other = name.removeprefix("delta_").partition("_vs_")
        return f"{METRIC_NAMES[metric]} − {other}"
    return METRIC_NAMES.get(name, name.replace("_", " "))


def _controls_last(names: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(names), key=lambda n: n.split("/")[0] in CONTROLS)


def _cell(value: float, low: float, high: float) -> str:
    return f"{value:.2f}" if np.isnan(low) else f"{value:.2f}<br>[{low:.2f}, {high:.2f}]"


def goal_table(scores: pd.DataFrame, goals: Sequence[Goal] = GOALS) -> pd.DataFrame:
    """Return for each goal the score of its model, whether it is reached, and whether controls lie below.

    ``scores`` as in `scores_by_protocol`. A goal counts as above the controls where the paired interval
    against every control leaves out zero. Goals whose model or protocol is not part of the run are left out.
    """
    known = scores.set_index(["protocol", "name", "metric"])
    rows = []
    for goal in goals:
        key = (goal.protocol, goal.model, goal.metric)
        if key not in known.index:
            continue
        found = known.loc[key]
        lows = [known["ci_low"].get((*key[:2], f"delta_{goal.metric}_vs_{c}"), np.nan) for c in CONTROLS]
        rows.append(
            {
                "protocol": PROTOCOL_LABELS.get(goal.protocol, goal.protocol).replace("<br>", " "),
                "metric": METRIC_NAMES[goal.metric],
                "goal": f"≥ {goal.least:.2f}",
                "model": goal.model,
                "found": f"{found['value']:.2f} [{found['ci_low']:.2f}, {found['ci_high']:.2f}]",
                "reached": "yes" if found["value"] >= goal.least else "no",
                "above every control": "yes" if all(low > 0 for low in lows) else "not certain",
            }
        )
    return pd.DataFrame(rows)


def scores_by_cluster(folds: pd.DataFrame, *, metric: str = "auc_pr") -> pd.DataFrame:
    """Return one row per model and one column per held-out cluster, headed by superionic of all rows.

    ``folds`` are `sselib.atomsets.classification.fold_scores` of one clustering with a column ``name``;
    clusters of one class have no score and are left out.
    """
    rows = folds[folds[metric].notna()]
    heads = {f: f"{f}<br>{p} of {n}" for f, p, n in rows[["fold", "positives", "n"]].to_numpy()}
    wide = rows.pivot_table(index="name", columns="fold", values=metric, sort=False)
    wide = (
        wide.reindex(index=_controls_last(wide.index), columns=sorted(heads))
        .rename(columns=heads)
        .rename_axis(columns=None)
    )
    return wide.map("{:.2f}".format).rename_axis(METRIC_NAMES[metric])


def oxidation_rules(structures: Sequence[Structure]) -> pd.DataFrame:
    """Return how many structures needed which rule of `materials.oxidation`; worst imbalance per atom."""
    found = rule_counts([s.composition for s in structures])
    return found.rename(columns={"compositions": "structures"})


def readable(table: pd.DataFrame, *, wrap: int = 0) -> Styler:
    """Return the table as it is shown: every row, names of rows as first column, two decimals.

    Line breaks (<br>) are kept. ``wrap``: texts longer than so many characters are broken, and escaped.
    """
    shown = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
    if wrap:
        shown = shown.map(lambda v: _wrapped(v, wrap) if isinstance(v, str) else v)
    return shown.style.hide(axis="index").format(precision=2, na_rep="")


def _wrapped(text: str, width: int) -> str:
    return "<br>".join(html.escape(line) for line in textwrap.wrap(text, width))
