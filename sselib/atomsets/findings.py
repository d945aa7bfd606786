"""What notebook 06 found, in sentences that follow from its numbers."""

from collections.abc import Sequence

import pandas as pd

from sselib.atomsets.classifiers import ATOMSETS, BASELINE, SUITE
from sselib.columns import CONTROLS
from sselib.validation.metrics import with_interval


def atomsets_sentence(scores: pd.DataFrame, *, protocol: str) -> str:
    """Say whether AtomSets beats every control and boosting on the composition, paired interval included.

    ``scores`` are metric records with a column ``name``.
    """
    rows = scores[scores["protocol"] == protocol]
    own = rows[(rows["model"] == ATOMSETS) & (rows["metric"] == "auc_pr")]
    if own.empty:
        return "AtomSets did not take part in this run (no parent model)."
    best = own.loc[own["value"].idxmax()]
    deltas = rows[(rows["name"] == best["name"]) & rows["metric"].str.startswith("delta_auc_pr_vs_")]
    low = deltas.set_index(deltas["metric"].str.removeprefix("delta_auc_pr_vs_"))["ci_low"]
    ties = [name for name in (*CONTROLS, "baseline") if name in low and low[name] <= 0]
    names = {"1nn": "the nearest composition", "baseline": BASELINE.name, "shuffled": "shuffled labels"}
    verdict = (
        "above every baseline"
        if not ties
        else ("not certain to be above " + ", ".join(names.get(t, f"the {t}") for t in ties))
    )
    value = with_interval(best["value"], best["ci_low"], best["ci_high"])
    return f"{best['name']} reaches AUC-PR {value} {_where(protocol)}: {verdict}."


def suite_sentence(scores: pd.DataFrame, *, protocols: Sequence[str]) -> str:
    """Say how good the model is that the suite uses, under each of the protocols that were run."""
    rows = scores[scores["name"] == SUITE.name].set_index(["protocol", "metric"])["value"]
    parts = [
        f"{rows[p, 'auc_pr']:.2f} / {rows[p, 'mcc']:.2f} {_where(p)}"
        for p in protocols
        if (p, "auc_pr") in rows and (p, "mcc") in rows
    ]
    what = "The suite uses a Gaussian process of log10(σ) with a threshold chosen on inner folds"
    return f"{what}: AUC-PR / MCC {', '.join(parts)}." if parts else f"{what}; it did not take part."


def choice_sentence(table: pd.DataFrame) -> str:
    """Say what choosing on the held-out cluster adds; ``table`` is that of `choice_table`, ours first."""
    first = str(table["mean over held-out clusters"].iloc[0]) if len(table) else ""
    if not first.startswith(ATOMSETS):
        return "What the published choice on the held-out clusters adds was not measured in this run."
    on_cluster, on_others, lucky = (table.iloc[k] for k in range(3))
    return (
        f"Chosen on the held-out cluster, as published, AtomSets reaches AUC-PR {on_cluster['AUC-PR']:.2f}; "
        f"chosen on the other clusters {on_others['AUC-PR']:.2f}; random scores with as many choices "
        f"{lucky['AUC-PR']:.2f}."
    )


def _where(protocol: str) -> str:
    return {
        "loco": "on unseen clusters of composition",
        "obelix_official": "on OBELiX's official test",
        "group_material": "on held-out materials and publications",
        "group_family": "on unseen families",
        "kfold5": "on random folds",
    }.get(protocol, f"under {protocol}")
