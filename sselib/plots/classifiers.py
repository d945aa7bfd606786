"""Figures and tables of notebook 06: scores, clusters, reliability, probability against conductivity."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from pandas.io.formats.style import Styler

from sselib.atomsets.classification import reliability
from sselib.atomsets.superionic_model import SUPERIONIC_LOG10_SIGMA
from sselib.columns import CONTROLS
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.plots.models import PROTOCOL_LABELS, interval_chart

METRIC_NAMES: Mapping[str, str] = {"auc_pr": "AUC-PR", "mcc": "MCC", "brier": "Brier score"}
_MAP_AXES = {"map_x": "first", "map_y": "second"}


def score_chart(
    rows: pd.DataFrame,
    *,
    metric: str,
    category: str = "protocol",
    labels: Mapping[str, str] = PROTOCOL_LABELS,
    panel: str = "",
) -> go.Figure:
    """Draw a metric with its 95 % interval, models side by side for each category; controls are dashes.

    ``rows`` has model, features, metric, value, ci_low, ci_high, n and the columns named ``category``, whose
    values have ``labels``, and ``panel`` (one panel for each of its values).
    """
    rows = rows[(rows["metric"] == metric) & rows[category].isin(list(labels))]
    known = {key: text for key, text in labels.items() if key in set(rows[category])}
    panels = list(dict.fromkeys(rows[panel])) if panel else []
    figure = interval_chart(rows, category=category, labels=known, panel=panel, panels=panels)
    name = METRIC_NAMES[metric]
    figure.update_yaxes(title=name, col=1)
    return figure.update_layout(title=f"{name} by {category} (bars: 95 % interval)")


def by_cluster(folds: pd.DataFrame, *, metric: str = "auc_pr") -> go.Figure:
    """Draw the score of each held-out cluster of one clustering, as in Fig. 4 of McHaffie et al.

    ``folds`` are `sselib.atomsets.classification.fold_scores`; clusters of one class are left out.
    """
    rows = folds[folds[metric].notna()].sort_values("fold")
    texts = zip(rows["fold"], rows["positives"], rows["n"], strict=True)
    labels = {fold: f"{fold}<br>{positives} of {n}" for fold, positives, n in texts}
    rows = rows.assign(value=rows[metric], ci_low=np.nan, ci_high=np.nan, metric=metric)
    figure = score_chart(rows, metric=metric, category="fold", labels=labels)
    figure.update_xaxes(title="held-out cluster, superionic of all rows")
    return figure.update_layout(title=f"{METRIC_NAMES[metric]} of each held-out cluster", legend_y=-0.32)


def ordered_or_not(scores: pd.DataFrame) -> go.Figure:
    """Draw AUC-PR and MCC on disordered and on ordered structures, as in Fig. 2 of McHaffie et al.

    ``scores`` are those of `sselib.atomsets.ordering.OrderingResult`, not empty.
    """
    labels = {m: METRIC_NAMES[m] for m in dict.fromkeys(scores["metric"])}
    figure = interval_chart(scores, category="metric", labels=labels)
    figure.update_yaxes(title="score (no unit)", col=1)
    title = f"Disordered or ordered: {int(scores['n'].iloc[0])} structures without Li (bars: 95 % interval)"
    return figure.update_layout(title=title)


def cluster_map(points: pd.DataFrame) -> go.Figure:
    """Draw the map of compositions: colour and number by cluster, filled where superionic.

    ``points`` has the columns map_x, map_y, cluster (-1: none), superionic, formula.
    """
    clusters = points.groupby("cluster")
    about = clusters.agg(n=("superionic", "size"), share=("superionic", "mean"))
    names = {
        c: f"{'in no cluster' if c < 0 else f'cluster {c}'}: {n:.0f} rows, {share:.0%} superionic"
        for c, n, share in about.itertuples()
    }
    figure = px.scatter(
        points.assign(name=points["cluster"].map(names)),
        x="map_x",
        y="map_y",
        color="name",
        hover_name="formula",
        category_orders={"name": list(names.values())},
        color_discrete_map={name: _cluster_colour(c) for c, name in names.items()},
        labels={k: f"composition map, {axis} axis (no unit)" for k, axis in _MAP_AXES.items()} | {"name": ""},
    )
    for trace, (cluster, rows) in zip(figure.data, clusters, strict=True):
        symbols = np.where(rows["superionic"], "circle", "circle-open")
        trace.update(marker={"size": 7, "symbol": symbols.tolist()})
        if cluster >= 0:
            place = {"x": rows["map_x"].mean(), "y": rows["map_y"].max(), "yshift": 12}
            figure.add_annotation(text=f"<b>{cluster}</b>", showarrow=False, **place)
    return figure.update_layout(height=480, title="Clusters of composition (filled: superionic)")


def _cluster_colour(cluster: int) -> str:
    return "#bbbbbb" if cluster < 0 else PALETTE[cluster % len(PALETTE)]


def reliability_curve(curves: pd.DataFrame) -> go.Figure:
    """Draw the share superionic against the mean probability; ``curves`` is `reliability_curves`."""
    figure = px.line(
        curves,
        x="p_superionic",
        y="share_superionic",
        color="name",
        markers=True,
        hover_data=["n"],
        color_discrete_sequence=list(PALETTE),
        labels={
            "p_superionic": "mean predicted probability of being superionic",
            "share_superionic": "share that is superionic",
            "name": "",
        },
    )
    diagonal = {"color": "#444", "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line=diagonal)
    figure.update_xaxes(range=[0, 1]).update_yaxes(range=[0, 1])
    return figure.update_layout(height=440, title="Reliability of the probabilities")


def reliability_curves(held_out: pd.DataFrame, *, by: str, n_bins: int = 5) -> pd.DataFrame:
    """Return `reliability` of each value of the column ``by``, which becomes ``name``."""
    groups: Sequence[tuple[str, pd.DataFrame]] = list(held_out.groupby(by, sort=False))
    return pd.concat([reliability(rows, n_bins=n_bins).assign(name=name) for name, rows in groups])


def probability_against_sigma(held_out: pd.DataFrame) -> go.Figure:
    """Draw held-out probabilities against the measured conductivity, one colour per route.

    ``held_out`` has the columns id, route, log10_sigma (log10(S/cm)), p_superionic and threshold; the dotted
    lines are the limit of the class and the mean threshold.
    """
    figure = px.scatter(
        held_out,
        x="log10_sigma",
        y="p_superionic",
        color="route",
        hover_name="id",
        opacity=0.6,
        color_discrete_sequence=list(PALETTE),
        labels={
            "log10_sigma": f"measured {SIGMA_LABEL}",
            "p_superionic": "held-out probability of being superionic",
            "route": "",
        },
    )
    for k, (_, rows) in enumerate(held_out.groupby("route", sort=False)):
        figure.add_hline(rows["threshold"].mean(), line_dash="dot", line_color=PALETTE[k])
    figure.add_vline(SUPERIONIC_LOG10_SIGMA, line_dash="dot", line_color="#444")
    figure.update_traces(marker_size=6).update_yaxes(range=[-0.02, 1.02])
    title = "Held-out probability against conductivity (dotted: limits)"
    return figure.update_layout(height=460, title=title)


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
