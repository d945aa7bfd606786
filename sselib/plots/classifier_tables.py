"""Tables of notebook 06 for reading: scores by protocol, and what choosing on the test set is worth."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from sselib.columns import CONTROLS
from sselib.plots.classifiers import METRIC_NAMES
from sselib.plots.models import PROTOCOL_LABELS


def scores_by_protocol(scores: pd.DataFrame, *, metric: str, protocols: Sequence[str]) -> pd.DataFrame:
    """Return one row per model and one column per protocol: the value above its 95 % interval.

    ``scores`` are metric records of one data set with a column ``name``; controls come last, and the last
    row is the number of rows that are judged.
    """
    rows = scores[(scores["metric"] == metric) & scores["protocol"].isin(protocols)]
    texts = rows.assign(text=[_cell(*v) for v in rows[["value", "ci_low", "ci_high"]].to_numpy(float)])
    models = dict(zip(rows["name"], rows["model"], strict=True))
    wide = texts.pivot_table(index="name", columns="protocol", values="text", aggfunc="first")
    wide = wide.reindex(
        index=sorted(models, key=lambda n: models[n] in CONTROLS), columns=[p for p in protocols if p in wide]
    )
    counts = rows.groupby("protocol")["n"].max().reindex(wide.columns)
    wide.loc["rows judged"] = [f"{n:.0f}" for n in counts]
    wide.columns = [PROTOCOL_LABELS.get(p, p) for p in wide.columns]
    return wide.fillna("").rename_axis(METRIC_NAMES.get(metric, metric))


def _cell(value: float, low: float, high: float) -> str:
    return f"{value:.2f}" if np.isnan(low) else f"{value:.2f}<br>[{low:.2f}, {high:.2f}]"


def choice_table(
    ways: Mapping[tuple[str, str], tuple[int, pd.DataFrame]], published: Sequence[Mapping[str, object]]
) -> pd.DataFrame:
    """Return AUC-PR and MCC, means over held-out clusters, of each way to choose, and the published numbers.

    ``ways`` are those of `sselib.atomsets.tuning.choose_by_clusters`, ``published`` the entries of
    `data/published.yaml`, of which those for ``loco_paper`` are shown.
    """
    rows = [(", ".join(name), n, t["auc_pr"].mean(), t["mcc"].mean()) for name, (n, t) in ways.items()]
    theirs: dict[str, dict[str, object]] = {}
    for entry in published:
        if entry["protocol"] == "loco_paper":
            theirs.setdefault(f"{entry['who']}, {entry['comparable']}", {})[entry["metric"]] = entry["value"]
    rows += [(who, "250 and epochs", t.get("AUC-PR"), t.get("MCC")) for who, t in theirs.items()]
    return pd.DataFrame(rows, columns=["mean over held-out clusters", "choices", "AUC-PR", "MCC"])


def by_metric(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per ``name`` and one column per metric: the value above its 95 % interval, and n."""
    rows = scores[scores["metric"].isin(list(METRIC_NAMES))]
    texts = rows.assign(text=[_cell(*v) for v in rows[["value", "ci_low", "ci_high"]].to_numpy(float)])
    wide = texts.pivot_table(index="name", columns="metric", values="text", aggfunc="first", sort=False)
    return wide.rename(columns=METRIC_NAMES).assign(n=rows.groupby("name")["n"].max())


def styled(table: pd.DataFrame) -> Styler:
    """Return the table as it is shown: every row, names of rows as first column, two decimals."""
    shown = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
    # File names stand in these tables: they must stay text in JupyterLab too.
    return shown.style.hide(axis="index").format(precision=2, na_rep="", escape="html")
