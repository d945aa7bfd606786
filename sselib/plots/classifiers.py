"""Figures of notebook 06: scores by protocol, clusters, precision and recall, reliability."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import precision_recall_curve

from sselib.atomsets.classification import THRESHOLD, reliability
from sselib.atomsets.classifiers import CONTROLS, SUPERIONIC_LOG10_SIGMA
from sselib.atomsets.representation_grid import PARENT_NAMES
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.plots.models import CONTROL_LABELS, PROTOCOL_LABELS, interval_points

_CONTROL_PLACES = {"1nn": "top left", "mean": "bottom left", "shuffled": "top right"}
_METRIC_TITLES = {"auc_pr": "AUC-PR", "mcc": "MCC at probability 0.5"}


def score_by_protocol(records: pd.DataFrame, *, metric: str = "auc_pr") -> go.Figure:
    """Draw a metric with its 95 % interval, one column per protocol; controls are grey dashes.

    ``records`` are metric records of one data set with a column ``name`` ("model/features").
    """
    rows = records[records["metric"] == metric]
    order = [p for p in PROTOCOL_LABELS if p in set(rows["protocol"])]
    names = sorted(dict.fromkeys(rows["name"]), key=lambda n: n.split("/")[0] in CONTROLS)
    figure = go.Figure()
    for k, name in enumerate(names):
        part = rows[rows["name"] == name].set_index("protocol")
        part = part.reindex([p for p in order if p in part.index])
        offset = (k - (len(names) - 1) / 2) * 0.8 / len(names)
        model = name.split("/")[0]
        x = [order.index(p) + offset for p in part.index]
        figure.add_trace(interval_points(part, x, model=model, label=CONTROL_LABELS.get(model, name), k=k))
    labels = [PROTOCOL_LABELS[p] for p in order]
    figure.update_xaxes(tickvals=list(range(len(order))), ticktext=labels, showgrid=False)
    figure.update_yaxes(title="area under the precision-recall curve", range=[0, 1.02])
    return figure.update_layout(
        height=500,
        legend={"orientation": "h", "y": -0.2},
        title="AUC-PR by protocol (bars: 95 % interval)",
    )


def representation_grid(table: pd.DataFrame, *, metric: str = "auc_pr") -> go.Figure:
    """Draw a metric by layer, one panel per protocol, one colour per parent and representation.

    ``table`` is of `sselib.atomsets.representation_grid.grid_table`; whiskers are 95 % intervals, diamonds
    AtomSets, dashed lines the controls.
    """
    rows = table[table["metric"] == metric]
    protocols = [p for p in PROTOCOL_LABELS if p in set(rows["protocol"])]
    titles = [PROTOCOL_LABELS[p].replace("<br>", " ") for p in protocols]
    n_panels = max(1, len(protocols))
    figure = make_subplots(rows=n_panels, cols=1, subplot_titles=titles, vertical_spacing=0.12)
    own = rows[rows["parent"] != ""]
    layers = sorted(own["layer"].unique())
    groups = list(dict.fromkeys(zip(own["model"], own["parent"], own["representation"], strict=True)))
    colours = list(dict.fromkeys(g[1:] for g in groups))
    for panel, protocol in enumerate(protocols, start=1):
        here = rows[rows["protocol"] == protocol]
        for k, group in enumerate(groups):
            part = here.set_index(["model", "parent", "representation"]).loc[[group]]
            x = part["layer"].map(layers.index) + (k - (len(groups) - 1) / 2) * 0.7 / len(groups)
            colour = PALETTE[colours.index(group[1:]) % len(PALETTE)]
            figure.add_trace(_whiskers(part, x, group, colour, shown=panel == 1), row=panel, col=1)
        for _, control in here[here["parent"] == ""].iterrows():
            figure.add_hline(
                control["value"],
                line_dash="dash",
                line_color="#888",
                annotation_text=CONTROL_LABELS.get(control["model"], control["model"]),
                annotation_position=_CONTROL_PLACES.get(control["model"], "top left"),
                annotation_font_size=10,
                row=panel,
                col=1,
            )
    figure.update_xaxes(tickvals=list(range(len(layers))), ticktext=layers)
    figure.update_xaxes(title={"text": "layer of the parent", "standoff": 8}, row=n_panels, col=1)
    title = _METRIC_TITLES[metric]
    figure.update_yaxes(title=title)
    drawn, below = 260 * n_panels, 70 + 30 * -(-len(groups) // 4)  # pixels; the legend has rows of about four
    return figure.update_layout(
        height=90 + drawn + below,
        margin={"t": 90, "b": below},
        legend={"orientation": "h", "yanchor": "top", "y": -60 / drawn},
        title=f"{title} by layer, parent and representation (bars: 95 % interval)",
    )


def _whiskers(
    part: pd.DataFrame, x: pd.Series, group: tuple[str, str, str], colour: str, *, shown: bool
) -> go.Scatter:
    model, parent, representation = group
    return go.Scatter(
        x=x,
        y=part["value"],
        error_y={
            "array": part["ci_high"] - part["value"],
            "arrayminus": part["value"] - part["ci_low"],
            "thickness": 1,
            "width": 2,
        },
        mode="markers",
        marker={"color": colour, "size": 7, "symbol": "diamond-open" if model == "atomsets" else "circle"},
        name=f"{PARENT_NAMES.get(parent, parent)} {representation}"
        + (" AtomSets" if model == "atomsets" else ""),
        legendgroup=" ".join(group),
        showlegend=shown,
    )


def ordered_or_not(scores: pd.DataFrame) -> go.Figure:
    """Draw AUC-PR and MCC on disordered and on ordered structures, as in Fig. 2 of McHaffie et al.

    ``scores`` are those of `sselib.atomsets.ordering.Comparison`, not empty; whiskers are 95 % intervals.
    """
    metrics = list(dict.fromkeys(scores["metric"]))
    figure = go.Figure()
    for k, (name, part) in enumerate(scores.groupby("structures", sort=False)):
        x = [metrics.index(m) + (k - 0.5) * 0.2 for m in part["metric"]]
        figure.add_trace(interval_points(part, x, model=name, label=f"{name} structures", k=k))
    labels = [_METRIC_TITLES[m] for m in metrics]
    figure.update_xaxes(tickvals=list(range(len(metrics))), ticktext=labels, range=[-0.6, len(metrics) - 0.4])
    figure.update_yaxes(title="score (no unit)")
    title = f"Disordered or ordered: {int(scores['n'].iloc[0])} structures without Li (bars: 95 % interval)"
    return figure.update_layout(height=380, title=title)


def score_by_cluster(folds: pd.DataFrame, *, names: Sequence[str], metric: str = "auc_pr") -> go.Figure:
    """Draw the score of each held-out cluster of one clustering, as in Fig. 4 of McHaffie et al.

    ``folds`` are `sselib.atomsets.classification.fold_scores` with a column ``name``; clusters of one class
    are left out, controls are grey dashes.
    """
    rows = folds[folds[metric].notna()]
    clusters = rows.drop_duplicates("fold").sort_values("fold")
    labels = [f"{c}<br>{p} of {n}" for c, p, n in clusters[["fold", "positives", "n"]].to_numpy()]
    place = {c: k for k, c in enumerate(clusters["fold"])}
    figure = go.Figure()
    for k, name in enumerate(names):
        part = rows[rows["name"] == name].assign(value=lambda t: t[metric], ci_low=np.nan, ci_high=np.nan)
        x = part["fold"].map(place) + (k - (len(names) - 1) / 2) * 0.8 / max(1, len(names))
        model = name.split("/")[0]
        label = CONTROL_LABELS.get(model, name)
        figure.add_trace(interval_points(part, x, model=model, label=label, k=k))
    figure.update_xaxes(
        tickvals=list(place.values()),
        ticktext=labels,
        title="held-out cluster, superionic of all rows",
        showgrid=False,
    )
    title = _METRIC_TITLES[metric]
    figure.update_yaxes(title=title, range=[0 if metric == "auc_pr" else -1, 1.02])
    return figure.update_layout(
        height=460, legend={"orientation": "h", "y": -0.3}, title=f"{title} of each held-out cluster"
    )


def clusters_above_controls(folds: pd.DataFrame, *, names: Sequence[str], metric: str = "auc_pr") -> str:
    """Say in how many held-out clusters each model is above every control."""
    rows = folds[folds[metric].notna()]
    wide = rows[rows["name"].isin(names)].pivot_table(index="fold", columns="name", values=metric)
    controls = [n for n in wide if n.split("/")[0] in CONTROLS]
    if wide.empty or not controls:
        return "`loco` is not part of this run."
    best = wide[controls].max(axis=1)
    counts = ", ".join(f"`{n}` {int((wide[n] > best).sum())}" for n in wide if n not in controls)
    return f"Above every control in so many of {len(wide)} clusters with both classes: {counts}."


def cluster_map(points: pd.DataFrame) -> go.Figure:
    """Draw the map of compositions: colour and number by cluster, filled where superionic.

    ``points`` has the columns map_x, map_y, cluster (-1: none), superionic, formula.
    """
    figure = go.Figure()
    for cluster, rows in points.groupby("cluster"):
        color = "#bbbbbb" if cluster < 0 else PALETTE[int(cluster) % len(PALETTE)]
        share = rows["superionic"].mean()
        name = "in no cluster" if cluster < 0 else f"cluster {cluster}"
        if cluster >= 0:
            place = {"x": rows["map_x"].mean(), "y": rows["map_y"].max(), "yshift": 12}
            figure.add_annotation(text=f"<b>{cluster}</b>", showarrow=False, **place)
        figure.add_trace(
            go.Scatter(
                x=rows["map_x"],
                y=rows["map_y"],
                mode="markers",
                name=f"{name}: {len(rows)} rows, {share:.0%} superionic",
                text=rows["formula"],
                marker={
                    "color": color,
                    "size": 7,
                    "symbol": np.where(rows["superionic"], "circle", "circle-open").tolist(),
                },
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.update_xaxes(title="composition map, first axis (no unit)")
    figure.update_yaxes(title="composition map, second axis (no unit)")
    return figure.update_layout(height=480, title="Clusters of composition (filled: superionic)")


def precision_recall(predictions: pd.DataFrame, *, names: Sequence[str]) -> go.Figure:
    """Draw precision against recall of pooled folds; ``predictions`` is of one protocol and repeat."""
    figure = go.Figure()
    for k, name in enumerate(names):
        rows = _of(predictions, name)
        precision, recall, _ = precision_recall_curve(rows["superionic"], rows["p_superionic"])
        figure.add_trace(
            go.Scatter(
                x=recall,
                y=precision,
                mode="lines",
                name=name,
                line={"color": PALETTE[k % len(PALETTE)], "shape": "hv"},
            )
        )
    share = _of(predictions, names[0])["superionic"].mean()
    figure.add_hline(
        share,
        line_dash="dot",
        line_color="#444",
        annotation_text=f"share superionic {share:.2f}",
        annotation_position="bottom left",
    )
    figure.update_xaxes(title="recall: share of the superionic rows found", range=[0, 1.02])
    figure.update_yaxes(title="precision: share superionic", range=[0, 1.02])
    return figure.update_layout(height=460, title="Precision and recall")


def reliability_curve(predictions: pd.DataFrame, *, names: Sequence[str], n_bins: int = 5) -> go.Figure:
    """Draw the share superionic against the mean probability, in bins of equal row number."""
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"color": "#444", "dash": "dot"})
    )
    for k, name in enumerate(names):
        table = reliability(_of(predictions, name), n_bins=n_bins)
        figure.add_trace(
            go.Scatter(
                x=table["p_superionic"],
                y=table["share_superionic"],
                mode="lines+markers",
                name=name,
                customdata=table["n"],
                line={"color": PALETTE[k % len(PALETTE)]},
                hovertemplate="said %{x:.2f}, found %{y:.2f}, n = %{customdata}<extra></extra>",
            )
        )
    figure.update_xaxes(title="mean predicted probability of being superionic", range=[0, 1])
    figure.update_yaxes(title="share that is superionic", range=[0, 1])
    return figure.update_layout(height=440, title="Reliability of the probabilities")


def probability_against_sigma(held_out: pd.DataFrame) -> go.Figure:
    """Draw held-out probabilities against the measured conductivity, one colour per route.

    ``held_out`` has the columns id, route, log10_sigma (log10(S/cm)) and p_superionic.
    """
    figure = go.Figure()
    for k, (route, rows) in enumerate(held_out.groupby("route", sort=False)):
        figure.add_trace(
            go.Scatter(
                x=rows["log10_sigma"],
                y=rows["p_superionic"],
                mode="markers",
                name=route,
                text=rows["id"],
                marker={"color": PALETTE[k], "size": 6, "opacity": 0.6},
                hovertemplate="%{text}<br>%{x:.1f}, P = %{y:.2f}<extra></extra>",
            )
        )
    figure.add_vline(SUPERIONIC_LOG10_SIGMA, line_dash="dot", line_color="#444")
    figure.add_hline(THRESHOLD, line_dash="dot", line_color="#444")
    figure.update_xaxes(title=f"measured {SIGMA_LABEL}")
    figure.update_yaxes(title="held-out probability of being superionic", range=[-0.02, 1.02])
    return figure.update_layout(
        height=460, title="Ensemble: held-out probability against conductivity (dotted: class limits)"
    )


def _of(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    model, _, features = name.partition("/")
    return predictions[(predictions["model"] == model) & (predictions["features"] == features)]
