"""Figures of notebook 05: error by prompt case, and predicted against measured values, model by case."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.plots.models import LOG_UNITS, PROTOCOL_LABELS, interval_points

CASE_LABELS: dict[str, str] = {
    "case1_formula": "1: formula",
    "case2_symmetry": "2: + symmetry",
    "case3_disorder": "3: + disorder",
    "case4_both": "4: + both",
}


def ablation(records: pd.DataFrame, *, models: Sequence[str], protocols: Sequence[str]) -> go.Figure:
    """Draw mae_bound with its interval against the prompt case, one panel per protocol.

    ``records`` are metric records of one data set; ``1nn`` and the mean are drawn as lines across.
    """
    rows = records[records["metric"] == "mae_bound"]
    titles = [PROTOCOL_LABELS.get(p, p).replace("<br>", " ") for p in protocols]
    figure = make_subplots(
        1, len(protocols), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04
    )
    cases = list(CASE_LABELS)
    for column, protocol in enumerate(protocols, start=1):
        here = rows[rows["protocol"] == protocol]
        for k, model in enumerate(models):
            part = here[here["model"] == model].set_index("features")
            part = part.reindex([c for c in cases if c in part.index])
            offset = (k - (len(models) - 1) / 2) * 0.7 / len(models)
            x = [cases.index(c) + offset for c in part.index]
            trace = interval_points(part, x, model=model, label=model, k=k)
            trace.update(showlegend=column == 1, legendgroup=model)
            figure.add_trace(trace, row=1, col=column)
        for control, dash in (("1nn", "dot"), ("mean", "dash")):
            value = here.loc[here["model"] == control, "value"]
            if len(value):
                figure.add_hline(
                    value.iloc[0],
                    line={"dash": dash, "color": "#777", "width": 1},
                    annotation_text=control,
                    annotation_position="bottom right",
                    row=1,
                    col=column,
                )
    figure.update_xaxes(
        tickvals=list(range(len(cases))), ticktext=list(CASE_LABELS.values()), range=[-0.6, len(cases) - 0.4]
    )
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title=f"mean absolute error, {LOG_UNITS}", col=1)
    return figure.update_layout(height=460, legend={"orientation": "h", "y": -0.2}, margin={"b": 90})


def parity_grid(predictions: pd.DataFrame, *, models: Sequence[str], cases: Sequence[str]) -> go.Figure:
    """Draw predicted against measured log10(S/cm) of held-out rows: a row per case, a column per model.

    The counterpart of Kim et al.'s Figure 8 for one protocol; a panel without rows stays empty and says so.
    """
    titles = [
        f"{m}<br><sup>{CASE_LABELS[c]}; {_panel_text(_panel(predictions, m, c))}</sup>"
        for c in cases
        for m in models
    ]
    figure = make_subplots(
        len(cases),
        len(models),
        subplot_titles=titles,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.25 / max(1, len(cases)),
    )
    low, high = predictions["y_true"].min() - 0.5, predictions["y_true"].max() + 0.5
    for r, case in enumerate(cases, start=1):
        for c, model in enumerate(models, start=1):
            for trace in _panel_traces(_panel(predictions, model, case), low, high, legend=r == c == 1):
                figure.add_trace(trace, row=r, col=c)
    figure.update_xaxes(range=[low, high])
    figure.update_yaxes(range=[low, high])
    figure.update_xaxes(title=f"measured {SIGMA_LABEL}", row=len(cases))
    figure.update_yaxes(title="predicted", col=1)
    figure.update_annotations(font_size=12)
    return figure.update_layout(
        height=120 + 240 * len(cases), margin={"t": 70, "b": 90}, legend={"orientation": "h", "y": -0.1}
    )


def _panel(predictions: pd.DataFrame, model: str, case: str) -> pd.DataFrame:
    return predictions[(predictions["model"] == model) & (predictions["features"] == case)]


def _panel_text(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "not part of this run"
    error = (rows["y_pred"] - rows["y_true"]).abs().mean()
    return f"MAE {error:.2f}, n = {len(rows)}"


def _panel_traces(rows: pd.DataFrame, low: float, high: float, *, legend: bool) -> list[go.Scatter]:
    diagonal = go.Scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        showlegend=False,
        hoverinfo="skip",
        line={"color": "#444", "width": 1},
    )
    styles = (
        (False, "held-out rows", PALETTE[0], "circle"),
        (True, "upper bounds", PALETTE[3], "triangle-left-open"),
    )
    points = [
        go.Scatter(
            x=part["y_true"],
            y=part["y_pred"],
            mode="markers",
            name=name,
            showlegend=legend,
            legendgroup=name,
            text=part["id"],
            hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
            marker={"color": color, "symbol": symbol, "size": 5, "opacity": 0.7},
        )
        for censored, name, color, symbol in styles
        for part in [rows[rows["censored"] == censored]]
    ]
    return [*points, diagonal]
