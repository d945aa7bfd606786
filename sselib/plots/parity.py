"""Predicted against measured values in a grid of panels: one look for every notebook."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sselib.figures import PALETTE, SIGMA_LABEL


@dataclass(frozen=True)
class Marks:
    """How the points of one ``kind`` are drawn; the kind is their name in the legend."""

    kind: str
    color: str = PALETTE[0]
    symbol: str = "circle"
    size: int = 6


def parity_panels(
    cells: Sequence[Sequence[pd.DataFrame]], *, titles: Sequence[str], marks: Sequence[Marks]
) -> go.Figure:
    """Draw a grid of panels with common axes and the diagonal, predicted against measured log10(S/cm).

    ``cells`` holds a table per panel, line by line, with the columns id, y_true, y_pred and kind (one of
    ``marks``); where a table is empty nothing is drawn. ``titles`` are the panels', in the same order.
    """
    figure = make_subplots(
        len(cells),
        len(cells[0]),
        subplot_titles=titles,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.25 / len(cells),
    )
    measured = pd.concat([table["y_true"] for line in cells for table in line])
    limits = [measured.min() - 0.5, measured.max() + 0.5]
    for r, line in enumerate(cells, start=1):
        for c, table in enumerate(line, start=1):
            if table.empty:
                figure.update_xaxes(visible=False, row=r, col=c).update_yaxes(visible=False, row=r, col=c)
                continue
            points = [_points(table, m, legend=r == c == 1) for m in marks]
            figure.add_traces([*points, _diagonal(limits)], rows=r, cols=c)
    figure.update_xaxes(range=limits)
    figure.update_yaxes(range=limits)
    for c in range(len(cells[0])):
        lowest = max((r for r, line in enumerate(cells, start=1) if len(line[c])), default=len(cells))
        figure.update_xaxes(title=f"measured {SIGMA_LABEL}", showticklabels=True, row=lowest, col=c + 1)
    figure.update_yaxes(title=f"predicted {SIGMA_LABEL}", col=1)
    figure.update_xaxes(title_font_size=13).update_yaxes(title_font_size=13).update_annotations(font_size=12)
    return figure.update_layout(margin={"t": 70, "b": 90}, legend={"orientation": "h"})


def _points(table: pd.DataFrame, marks: Marks, *, legend: bool) -> go.Scatter:
    chosen = table[table["kind"] == marks.kind]
    return go.Scatter(
        x=chosen["y_true"],
        y=chosen["y_pred"],
        mode="markers",
        name=marks.kind,
        showlegend=legend,
        legendgroup=marks.kind,
        text=chosen["id"],
        hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
        marker={"color": marks.color, "symbol": marks.symbol, "size": marks.size, "opacity": 0.8},
    )


def _diagonal(limits: Sequence[float]) -> go.Scatter:
    return go.Scatter(
        x=limits,
        y=limits,
        mode="lines",
        showlegend=False,
        hoverinfo="skip",
        line={"color": "#444", "width": 1},
    )
