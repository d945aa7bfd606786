"""Figures of notebook 07: probabilities, distances, Pareto fronts, the published candidates, enrichment."""

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from sselib.figures import BARS_X, PALETTE, SIGMA_LABEL, with_bars
from sselib.plots.models import interval_chart, shap_waterfall
from sselib.screening.explanation import Explanation, with_unit
from sselib.screening.scores import described_columns

_P_LABEL = "P(superionic), σ ≥ 10<sup>−4</sup> S cm<sup>−1</sup>"
_BELOW = {"orientation": "h", "y": -0.25}
_LIMIT = {"line_dash": "dot", "line_color": "#444"}
MAX_POINTS = 20_000  # of a scatter plot, which stays near 2 MB with them


def _labels() -> dict[str, str]:
    return {column: about.label for column, about in described_columns().items()}


def probability_histogram(table: pd.DataFrame) -> go.Figure:
    """Draw how many candidates have which probability, by ``kind`` (counterpart of McHaffie's Fig. 7a).

    ``table`` has the columns p_superionic and kind; counts are on a logarithmic axis.
    """
    rows = table.dropna(subset="p_superionic")
    sizes = rows["kind"].value_counts()
    centre = (np.floor(20 * rows["p_superionic"]).clip(upper=19) + 0.5) / 20
    kind = [f"{kind} ({sizes[kind]})" for kind in rows["kind"]]
    counts = pd.DataFrame({"centre": centre, "kind": kind}).value_counts(sort=False).reset_index()
    figure = px.bar(
        counts,
        x="centre",
        y="count",
        color="kind",
        barmode="group",
        log_y=True,
        category_orders={"kind": list(dict.fromkeys(kind))},
        color_discrete_sequence=list(PALETTE),
        labels={"centre": _P_LABEL, "count": "number of candidates", "kind": ""},
    )
    figure.update_xaxes(range=[0, 1]).update_yaxes(dtick=1).add_vline(0.5, **_LIMIT)
    return figure.update_layout(height=420, title="How likely the candidates are superionic", legend=_BELOW)


def probability_against_distance(table: pd.DataFrame, *, distance: str) -> go.Figure:
    """Draw probability against distance to the training data, coloured by its spread (Fig. 7b).

    Of more than `MAX_POINTS` rows a random part is drawn, and the title says so.
    """
    rows = table.dropna(subset=[distance, "p_superionic"])
    rows = rows.sample(min(len(rows), MAX_POINTS), random_state=0)
    figure = px.scatter(
        rows,
        x=distance,
        y="p_superionic",
        color="p_superionic_sd",
        hover_name="formula",
        opacity=0.8,
        color_continuous_scale="Viridis",
        labels={**_labels(), "p_superionic": _P_LABEL, "p_superionic_sd": "standard<br>deviation"},
        render_mode="webgl",
    )
    figure.update_traces(marker_size=7).add_hline(0.5, **_LIMIT)
    figure.update_xaxes(rangemode="tozero").update_yaxes(range=[-0.02, 1.02])
    part = f" ({len(rows)} of {len(table)} drawn)" if len(rows) == MAX_POINTS < len(table) else ""
    return figure.update_layout(height=440, title=f"Probability and distance to the training data{part}")


def pareto_scatter(table: pd.DataFrame, *, x: str, y: str, log_x: bool = False) -> go.Figure:
    """Draw the kept candidates in two objectives, the first Pareto front marked.

    The front is that of all objectives, so it need not be an edge in these two.
    """
    first = (table["pareto_front"] == 1).map({False: "other candidates", True: "first Pareto front"})
    counts = first.value_counts()
    names = [f"{name} ({counts.get(name, 0)})" for name in ("other candidates", "first Pareto front")]
    figure = px.scatter(
        table.assign(front=[f"{name} ({counts[name]})" for name in first]),
        x=x,
        y=y,
        color="front",
        hover_name="formula",
        hover_data={"rank": True, "score": ":.2f"},
        log_x=log_x,
        category_orders={"front": names},
        color_discrete_map=dict(zip(names, ("#9aa5b1", PALETTE[3]), strict=True)),
        labels={**_labels(), "front": ""},
    )
    figure.update_traces(marker={"size": 8, "line": {"color": "white", "width": 0.5}})
    return figure.update_layout(height=460, title="Candidates that pass every filter", legend=_BELOW)


def published_check(table: pd.DataFrame) -> go.Figure:
    """Draw predictions for the published candidates with their intervals, and what was measured.

    ``table`` has formula, log10_sigma, lower, upper, log10_measured and ``models`` (a name per set).
    """
    order = list(dict.fromkeys(table["formula"]))
    figure = px.scatter(
        with_bars(table, "log10_sigma", "lower", "upper"),
        x="log10_sigma",
        y="formula",
        **BARS_X,
        color="models",
        orientation="h",
        category_orders={"formula": order},
        color_discrete_sequence=list(PALETTE),
        labels={"log10_sigma": SIGMA_LABEL + ", bars: 90 % interval", "formula": "", "models": ""},
    )
    figure.update_traces(marker_size=8, error_x={"thickness": 1, "width": 2})
    measured = table.dropna(subset="log10_measured").drop_duplicates("formula")
    star = {"color": "black", "symbol": "star", "size": 12}
    points = {"x": measured["log10_measured"], "y": measured["formula"], "orientation": "h"}
    figure.add_scatter(**points, mode="markers", name="measured", marker=star)
    figure.add_vline(-4, **_LIMIT).update_xaxes(range=[-14, 1])
    return figure.update_layout(
        scattermode="group",
        height=170 + 30 * len(order),
        title={"text": "Candidates of McHaffie et al., Table 2", "y": 1, "yanchor": "top", "pad": {"t": 20}},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
        margin={"t": 90},
    )


def enrichment_bars(table: pd.DataFrame) -> go.Figure:
    """Draw hits among the top k per model with 95 % intervals; the grey band is a random draw."""
    names = {k: f"top {k}" for k in sorted(table["k"].unique())}
    shares = table.assign(
        value=table["hits"] / table["k"],
        ci_low=table[["hits", "hits_low"]].min(axis=1) / table["k"],
        ci_high=table[["hits", "hits_high"]].max(axis=1) / table["k"],
    )
    figure = interval_chart(shares, category="k", labels=names)
    band = table.drop_duplicates("k").sort_values("k")
    for i, row in enumerate(band.itertuples()):
        ends = {"x0": i - 0.45, "x1": i + 0.45, "y0": row.random_low / row.k, "y1": row.random_high / row.k}
        figure.add_shape(type="rect", **ends, fillcolor="#dddddd", line_width=0, layer="below")
    figure.update_yaxes(title="share that is superionic", range=[0, 1.02])
    title = "Superionic among the best ranked of held-out clusters (grey: 95 % of random draws)"
    return figure.update_layout(title=title)


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
