"""Figures of notebook 07: probabilities, distances, Pareto fronts, the published candidates, enrichment."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.plots.models import CONTROL_LABELS, interval_points
from sselib.plots.waterfall import shap_waterfall
from sselib.screening.explanation import Explanation, with_unit

_P_LABEL = "P(superionic), σ ≥ 10<sup>−4</sup> S cm<sup>−1</sup>"
MAX_POINTS = 20_000  # of a scatter plot, which stays near 2 MB with them
LABELS: dict[str, str] = {
    "log10_sigma": "predicted " + SIGMA_LABEL,
    "d_composition": "distance to the nearest training composition (L1, 0 to 2)",
    "element_cost_usd_kg": "cost of the elements / (USD kg<sup>−1</sup>)",
}


def probability_histogram(table: pd.DataFrame) -> go.Figure:
    """Draw how many candidates have which probability, by ``kind`` (counterpart of McHaffie's Fig. 7a).

    ``table`` has the columns p_superionic and kind; counts are on a logarithmic axis.
    """
    figure = go.Figure()
    for k, (kind, rows) in enumerate(table.groupby("kind", sort=False)):
        counts, edges = np.histogram(rows["p_superionic"].dropna(), bins=20, range=(0, 1))
        bar = go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            name=f"{kind} ({len(rows)})",
            marker={"color": PALETTE[k % len(PALETTE)]},
            hovertemplate="P %{x:.3f} ± 0.025: %{y} candidates<extra></extra>",
        )
        figure.add_trace(bar)
    figure.add_vline(0.5, line_dash="dot", line_color="#444")
    figure.update_xaxes(title=_P_LABEL, range=[0, 1])
    figure.update_yaxes(title="number of candidates", type="log", dtick=1)
    return figure.update_layout(
        barmode="group",
        height=420,
        title="How likely the candidates are superionic",
        legend={"orientation": "h", "y": -0.25},
    )


def probability_against_distance(table: pd.DataFrame, *, distance: str) -> go.Figure:
    """Draw probability against distance to the training data, coloured by its spread (Fig. 7b).

    Of more than `MAX_POINTS` rows a random part is drawn, and the title says so.
    """
    rows = table.dropna(subset=[distance, "p_superionic"])
    if len(rows) > MAX_POINTS:
        rows = rows.sample(MAX_POINTS, random_state=0)
    marker = {
        "color": rows["p_superionic_sd"],
        "colorscale": "Viridis",
        "size": 7,
        "opacity": 0.8,
        "colorbar": {"title": {"text": "standard deviation", "side": "right"}},
    }
    figure = go.Figure(
        go.Scattergl(
            x=rows[distance],
            y=rows["p_superionic"],
            mode="markers",
            marker=marker,
            text=rows["formula"],
            hovertemplate="%{text}<br>distance %{x:.2f}, P %{y:.2f}<extra></extra>",
        )
    )
    figure.add_hline(0.5, line_dash="dot", line_color="#444")
    figure.update_xaxes(title=LABELS[distance], rangemode="tozero")
    figure.update_yaxes(title=_P_LABEL, range=[-0.02, 1.02])
    part = f" ({len(rows)} of {len(table)} drawn)" if len(rows) == MAX_POINTS < len(table) else ""
    return figure.update_layout(height=440, title=f"Probability and distance to the training data{part}")


def pareto_scatter(table: pd.DataFrame, *, x: str, y: str, log_x: bool = False) -> go.Figure:
    """Draw the kept candidates in two objectives, the first Pareto front marked.

    The front is that of all objectives, so it need not be an edge in these two.
    """
    figure = go.Figure()
    first = table["pareto_front"] == 1
    cases = (("other candidates", ~first, "#9aa5b1", 7), ("first Pareto front", first, PALETTE[3], 10))
    for name, here, color, size in cases:
        rows = table[here]
        figure.add_trace(
            go.Scatter(
                x=rows[x],
                y=rows[y],
                mode="markers",
                name=f"{name} ({len(rows)})",
                marker={"color": color, "size": size, "line": {"color": "white", "width": 0.5}},
                text=rows["formula"],
                customdata=rows[["rank", "score"]].astype(float),
                hovertemplate="%{text}<br>rank %{customdata[0]:.0f}, score %{customdata[1]:.2f}",
            )
        )
    figure.update_xaxes(title=LABELS[x], type="log" if log_x else "linear")
    figure.update_yaxes(title=LABELS[y])
    return figure.update_layout(
        height=460, title="Candidates that pass every filter", legend={"orientation": "h", "y": -0.22}
    )


def published_check(table: pd.DataFrame) -> go.Figure:
    """Draw predictions for the published candidates with their intervals, and what was measured.

    ``table`` has formula, log10_sigma, lower, upper, log10_measured and ``models`` (a name per set).
    """
    order = list(dict.fromkeys(table["formula"]))[::-1]
    figure = go.Figure()
    for k, (name, rows) in enumerate(table.groupby("models", sort=False)):
        offset = 0.25 - 0.25 * k
        figure.add_trace(
            go.Scatter(
                x=rows["log10_sigma"],
                y=[order.index(f) + offset for f in rows["formula"]],
                mode="markers",
                name=name,
                marker={"color": PALETTE[k], "size": 8},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": rows["upper"] - rows["log10_sigma"],
                    "arrayminus": rows["log10_sigma"] - rows["lower"],
                    "thickness": 1,
                    "width": 2,
                },
            )
        )
    measured = table.dropna(subset="log10_measured").drop_duplicates("formula")
    figure.add_trace(
        go.Scatter(
            x=measured["log10_measured"],
            y=[order.index(f) for f in measured["formula"]],
            mode="markers",
            name="measured",
            marker={"color": "black", "symbol": "star", "size": 12},
        )
    )
    figure.add_vline(-4, line_dash="dot", line_color="#444")
    figure.update_xaxes(title=SIGMA_LABEL + ", bars: 90 % interval", range=[-14, 1])
    figure.update_yaxes(tickvals=list(range(len(order))), ticktext=order, range=[-0.7, len(order) - 0.3])
    return figure.update_layout(
        height=170 + 30 * len(order),
        title={"text": "Candidates of McHaffie et al., Table 2", "y": 1, "yanchor": "top", "pad": {"t": 20}},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
        margin={"t": 90},
    )


def enrichment_bars(table: pd.DataFrame) -> go.Figure:
    """Draw hits among the top k per model with 95 % intervals; the grey band is a random draw."""
    ks = sorted(table["k"].unique())
    names = list(dict.fromkeys(table["model"] + "/" + table["features"]))
    figure = go.Figure()
    band = table.drop_duplicates("k").set_index("k").loc[ks]
    for i, k in enumerate(ks):
        figure.add_shape(
            type="rect",
            x0=i - 0.45,
            x1=i + 0.45,
            y0=band.loc[k, "random_low"] / k,
            y1=band.loc[k, "random_high"] / k,
            fillcolor="#dddddd",
            line={"width": 0},
            layer="below",
        )
    for j, name in enumerate(names):
        rows = table[table["model"] + "/" + table["features"] == name].set_index("k")
        rows = rows.loc[[k for k in ks if k in rows.index]]
        model = name.split("/")[0]
        x = [ks.index(k) + ((j + 0.5) / len(names) - 0.5) * 0.8 for k in rows.index]
        shares = {
            "value": rows["hits"] / rows.index,
            "ci_low": rows[["hits", "hits_low"]].min(axis=1) / rows.index,
            "ci_high": rows[["hits", "hits_high"]].max(axis=1) / rows.index,
        }
        label = CONTROL_LABELS.get(model, name)
        figure.add_trace(interval_points(rows.assign(**shares), x, model=model, label=label, k=j))
    figure.update_xaxes(tickvals=list(range(len(ks))), ticktext=[f"top {k}" for k in ks], showgrid=False)
    figure.update_yaxes(title="share that is superionic", range=[0, 1.02])
    return figure.update_layout(
        height=480,
        title="Superionic among the best ranked of held-out clusters (grey: 95 % of random draws)",
        legend={"orientation": "h", "y": -0.2},
    )


def waterfall(explanation: Explanation) -> go.Figure:
    """Draw what each feature adds to the mean prediction, up to the prediction for the candidate."""
    rows = explanation.contributions
    labels = [
        with_unit(f) if np.isnan(v) else f"{with_unit(f)} = {v:.3g}"
        for f, v in zip(rows["feature"], rows["value"], strict=True)
    ]
    figure = shap_waterfall(
        labels, list(rows["shap"]), base=explanation.base, title=f"Why: {explanation.formula}"
    )
    return figure.update_layout(height=420, margin={"l": 260})
