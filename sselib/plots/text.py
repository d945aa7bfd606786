"""Figures of notebook 05: error by prompt case, and predicted against measured values, model by case."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sselib.figures import PALETTE
from sselib.plots.models import LOG_UNITS, PROTOCOL_LABELS, interval_points
from sselib.plots.parity import Marks, parity_panels

CASE_LABELS: dict[str, str] = {
    "case1_formula": "1: formula",
    "case2_symmetry": "2: + symmetry",
    "case3_disorder": "3: + disorder",
    "case4_both": "4: + both",
}
_MEASURED, _BOUNDS = "held-out rows", "upper bounds"
_PANELS_A_LINE = 4
_MARKS = (Marks(_MEASURED, size=5), Marks(_BOUNDS, PALETTE[3], "triangle-left-open", size=5))


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
    """Draw predicted against measured log10(S/cm) of held-out rows: a panel per model and case with rows.

    The counterpart of Kim et al.'s Figure 8 for one protocol; the panels stand model by model.
    """
    points = predictions.assign(kind=predictions["censored"].map({True: _BOUNDS, False: _MEASURED}))
    by_panel = dict(iter(points.groupby(["model", "features"])))
    filled = {(m, c): by_panel[m, c] for m in models for c in cases if (m, c) in by_panel}
    tables = [*filled.values(), *[points.iloc[:0]] * (-len(filled) % _PANELS_A_LINE)]
    cells = [tables[k : k + _PANELS_A_LINE] for k in range(0, len(tables), _PANELS_A_LINE)]
    figure = parity_panels(cells, titles=[_title(*key, rows) for key, rows in filled.items()], marks=_MARKS)
    return figure.update_layout(height=120 + 260 * len(cells), legend_y=-0.12)


def _title(model: str, case: str, rows: pd.DataFrame) -> str:
    error = (rows["y_pred"] - rows["y_true"]).abs().mean()
    return f"{model}<br><sup>{CASE_LABELS[case]}; MAE {error:.2f}, n = {len(rows)}</sup>"
