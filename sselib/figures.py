"""How figures look and where they go: one palette, labelled axes, the data saved beside each figure."""

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from sselib.runfolder import RunFolder, write_whole

# Okabe and Ito's palette, distinguishable with every common form of colour blindness.
PALETTE: tuple[str, ...] = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
SIGMA_LABEL = "log<sub>10</sub>(σ / S cm<sup>−1</sup>)"

_AXIS = {
    "showgrid": True,
    "gridcolor": "#e5e5e5",
    "linecolor": "#444",
    "ticks": "outside",
    "automargin": True,
    "zeroline": False,
}
pio.templates["sse"] = go.layout.Template(
    layout={
        "colorway": list(PALETTE),
        "font": {"family": "DejaVu Sans, Arial, sans-serif", "size": 13},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 20, "t": 50, "b": 60},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"bgcolor": "rgba(255,255,255,0.8)"},
        "title": {"x": 0.0, "xanchor": "left"},
    }
)
# What plotly express takes for the intervals of `with_bars`.
BARS_X = {"error_x": "above", "error_x_minus": "below"}
BARS_Y = {"error_y": "above", "error_y_minus": "below"}
# Plotly 7 shows a button that uploads the figure's data to its cloud: a user's data stay where they are.
CONFIG = {"showSendToCloud": False, "displaylogo": False}


def house_style(figure: go.Figure) -> go.Figure:
    """Return the figure in the suite's look; the defaults of plotly stay as the user has them."""
    return figure.update_layout(template="sse")


def with_bars(table: pd.DataFrame, value: str, low: str, high: str) -> pd.DataFrame:
    """Return the table with the lengths ``above`` and ``below`` of each value's interval, for `BARS_Y`."""
    return table.assign(above=table[high] - table[value], below=table[value] - table[low])


def plain_facets(figure: go.Figure) -> go.Figure:
    """Return a figure of plotly express whose panels are headed by their value alone, without its column."""
    return figure.for_each_annotation(lambda a: a.update(text=a.text.partition("=")[2] or a.text))


def publish(figure: go.Figure, *, run: RunFolder, name: str, data: pd.DataFrame) -> go.Figure:
    """Save the figure (plotly JSON) and its data (CSV) under the run's figures; return it for display.

    `sse run` adds a PNG of every saved figure where a Chrome or Chromium can be found.
    """
    house_style(figure)
    pio.renderers["plotly_mimetype"].config = CONFIG
    write_whole(run.figures / f"{name}.json", lambda p: p.write_text(figure.to_json(), encoding="utf-8"))
    write_whole(run.figures / f"{name}.csv", lambda p: data.to_csv(p, index=False))
    return figure
