"""Predicted against measured values in a grid of panels: one look for every notebook."""

from collections.abc import Mapping

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from sselib.figures import PALETTE, SIGMA_LABEL, plain_facets

TRAINING_ROWS, HELD_OUT_ROWS, UPPER_BOUNDS = "training rows", "held-out rows", "upper bounds"
_COLOURS = {TRAINING_ROWS: "#bbbbbb", HELD_OUT_ROWS: PALETTE[0], UPPER_BOUNDS: PALETTE[3]}
_SYMBOLS = {TRAINING_ROWS: "circle", HELD_OUT_ROWS: "circle", UPPER_BOUNDS: "triangle-left-open"}


def parity_panels(points: pd.DataFrame, *, titles: Mapping[object, str], columns: int) -> go.Figure:
    """Draw predicted against measured log10(S/cm), a panel for each of ``titles``, with the diagonal.

    ``points`` has the columns id, y_true, y_pred, panel (a key of ``titles``) and kind (`TRAINING_ROWS`,
    `HELD_OUT_ROWS` or `UPPER_BOUNDS`); panels stand ``columns`` to a line and share their axes.
    """
    columns = min(columns, len(titles))
    n_lines = -(-len(titles) // columns)
    figure = px.scatter(
        points.assign(panel=points["panel"].map(titles)),
        x="y_true",
        y="y_pred",
        color="kind",
        symbol="kind",
        facet_col="panel",
        facet_col_wrap=columns,
        facet_col_spacing=0.03,
        facet_row_spacing=0.25 / n_lines,
        hover_name="id",
        opacity=0.8,
        category_orders={"panel": list(titles.values()), "kind": list(_COLOURS)},
        color_discrete_map=_COLOURS,
        symbol_map=_SYMBOLS,
        labels={"y_true": f"measured {SIGMA_LABEL}", "y_pred": f"predicted {SIGMA_LABEL}", "kind": ""},
    )
    figure.update_traces(marker_size=5)
    limits = [points["y_true"].min() - 0.5, points["y_true"].max() + 0.5]
    ends = {"x0": limits[0], "y0": limits[0], "x1": limits[1], "y1": limits[1]}
    line = {"color": "#444", "width": 1}
    figure.add_shape(type="line", **ends, line=line, row="all", col="all", exclude_empty_subplots=True)
    for k in range(columns - (n_lines * columns - len(titles)), columns):  # no panel there; rows from below
        figure.update_xaxes(visible=False, row=1, col=k + 1).update_yaxes(visible=False, row=1, col=k + 1)
        figure.update_xaxes(title=f"measured {SIGMA_LABEL}", row=2, col=k + 1)
    figure.update_xaxes(range=limits, showticklabels=True, title_font_size=13)
    figure.update_yaxes(range=limits, title_font_size=13).update_annotations(font_size=12)
    layout = {"margin": {"t": 70, "b": 90}, "legend": {"orientation": "h", "y": -0.13}}
    return plain_facets(figure).update_layout(height=100 + 290 * n_lines, **layout)
