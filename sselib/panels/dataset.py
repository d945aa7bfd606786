"""Notebook 01: explore the curated conductivities by family, class, source, disorder and elements.

Distribution, composition map and table follow the filters; a click on a point or row opens the compound.
"""

from collections.abc import Iterator, Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML
from plotly.subplots import make_subplots

from sselib.columns import Curated, Entry
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.materials.composition import parse_formula
from sselib.materials.conductivity import CLASS_LIMITS
from sselib.materials.disorder import DisorderClass
from sselib.panels.compound import Dataset, card, compound_structure, load_dataset
from sselib.panels.display import WRAP, Card, Explorer, html_table, ring, shower
from sselib.panels.widgets import ElementPicker

UNKNOWN = "no structure"
_BIN_WIDTH = 0.5  # log10 units
_GREY = "#d0d5da"
_SHORT = {
    DisorderClass.LI_AND_OTHER: "Li and other atoms",
    DisorderClass.LI: "Li",
    DisorderClass.OTHER: "other atoms",
}
_COLUMNS = {
    Entry.FORMULA: "formula",
    Curated.FAMILY: "family",
    Entry.LOG10_SIGMA: "log10(σ / S cm⁻¹)",
    Curated.CONDUCTIVITY_CLASS: "class",
    Entry.SOURCE: "source",
    Entry.SPACE_GROUP_SYMBOL: "space group",
    Curated.DISORDER_CLASS: "disorder",
    Curated.N_MEASUREMENTS: "measurements",
}
_NARROW = {"layout": {"width": "255px"}, "style": {"description_width": "58px"}}
_BACKGROUND, _MATCHING, _MAP_ALL, _MAP = range(4)  # traces of the overview figure


def matching(
    table: pd.DataFrame,
    *,
    text: str = "",
    sigma: tuple[float, float] = (-np.inf, np.inf),
    **chosen: Sequence[str],
) -> np.ndarray:
    """Return which rows pass all filters, shape (n,), bool; an empty one filters nothing.

    ``text`` is part of a formula or id, ``sigma`` a range of log10(S/cm); the others are values of columns,
    `UNKNOWN` for a missing one.
    """
    keep = table[Entry.LOG10_SIGMA].between(sigma[0] - 1e-9, sigma[1] + 1e-9)
    for column, values in chosen.items():
        keep &= table[column].astype(object).fillna(UNKNOWN).isin(values) | (not values)
    names = (table[Entry.FORMULA] + " " + table[Entry.ID]).str.casefold()
    return (keep & names.str.contains(text.strip().casefold(), regex=False)).to_numpy(bool)


def overview_figure(table: pd.DataFrame) -> go.Figure:
    """Draw the distribution of conductivities beside the map of compositions, every row shown."""
    figure = make_subplots(cols=2, column_widths=[0.42, 0.58], horizontal_spacing=0.1)
    edges = _bin_edges(table)
    centres = (edges[:-1] + edges[1:]) / 2
    counts, _ = np.histogram(table[Entry.LOG10_SIGMA], edges)
    bar = {"width": _BIN_WIDTH * 0.95, "hovertemplate": "%{x:.2f} ± 0.25: %{y} rows<extra></extra>"}
    figure.add_bar(x=centres, y=counts, marker={"color": _GREY}, name="all rows", **bar)
    figure.add_bar(x=centres, y=counts, marker={"color": PALETTE[0]}, name="shown", **bar)
    for limit in CLASS_LIMITS.values():
        figure.add_vline(x=limit, line={"color": "#444", "dash": "dot", "width": 1}, row=1, col=1)
    points = {"x": table[Curated.MAP_X], "y": table[Curated.MAP_Y], "mode": "markers", "showlegend": False}
    figure.add_scatter(**points, marker={"color": _GREY, "size": 4}, hoverinfo="skip", row=1, col=2)
    scale = {"colorscale": "Viridis", "cmin": -10, "cmax": -2, "line": {"width": 0.3, "color": "white"}}
    bar = {"title": {"text": SIGMA_LABEL, "side": "right"}, "thickness": 14}
    marker = {"color": table[Entry.LOG10_SIGMA], "size": 8, "opacity": 0.85, "colorbar": bar, **scale}
    figure.add_scatter(**points, **_map_contents(table), marker=marker, row=1, col=2)
    figure.add_scatter(**ring(), row=1, col=2)
    figure.update_xaxes(title=SIGMA_LABEL, col=1).update_yaxes(
        title=f"rows per {_BIN_WIDTH:g} log units", col=1
    )
    figure.update_xaxes(title="composition map, UMAP 1 (no unit)", showticklabels=False, ticks="", col=2)
    figure.update_yaxes(title="UMAP 2 (no unit)", showticklabels=False, ticks="", col=2)
    legend = {"orientation": "h", "y": 1.12}
    return figure.update_layout(height=400, barmode="overlay", legend=legend, margin={"t": 30})


def _bin_edges(table: pd.DataFrame) -> np.ndarray:
    low, high = table[Entry.LOG10_SIGMA].min(), table[Entry.LOG10_SIGMA].max()
    return _BIN_WIDTH * np.arange(low // _BIN_WIDTH, high // _BIN_WIDTH + 2)


def _map_contents(rows: pd.DataFrame) -> dict[str, object]:
    """Return what hovering shows, and the symbols: triangles are upper bounds."""
    return {
        "ids": rows[Entry.ID],
        "text": rows[Entry.FORMULA] + ", " + rows[Curated.FAMILY].astype(object),
        "customdata": rows[Entry.LOG10_SIGMA],
        "hovertemplate": "%{text}<br>log10(σ) = %{customdata:.2f}<extra></extra>",
        "marker_symbol": rows[Entry.CENSORED].map({True: "triangle-down", False: "circle"}),
    }


def row_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that the table shows, the best conductor first."""
    ordered = rows.sort_values(Entry.LOG10_SIGMA, ascending=False)
    return ordered[list(_COLUMNS)].rename(columns={str(k): v for k, v in _COLUMNS.items()})


class DatasetExplorer(Explorer):
    """The live panel."""

    def __init__(self, data: Dataset) -> None:
        self.data, self.shown, self.compound = data, data.table, Card()
        super().__init__(overview_figure(data.table))
        self._build_filters()
        self.watch(self.text, self.sigma, *self.chosen.values())
        self.watch(self.picker, names=("required", "excluded"))
        self.reset.on_click(lambda _: self.clear())
        self.update()
        self.table.selected = default_compound(data)
        hint = widgets.HTML("<small>click an element: must be there; again: must not; again: either</small>")
        family, conductivity, source, disorder = self.chosen.values()
        lists = [
            widgets.VBox([family, conductivity]),
            widgets.VBox([source, disorder, self.text, self.sigma, self.reset]),
        ]
        filters = widgets.Box([*lists, widgets.VBox([self.picker, hint])], layout=WRAP)
        self.view = widgets.VBox([filters, self.status, self.figure, self.table, self.compound.view])

    def _build_filters(self) -> None:
        table = self.data.table
        low, high = np.floor(table[Entry.LOG10_SIGMA].min()), np.ceil(table[Entry.LOG10_SIGMA].max())
        self.text = widgets.Text(placeholder="part of a formula or id", description="search", **_NARROW)
        steps = {"min": low, "max": high, "step": 0.25, "readout_format": ".1f"}
        self.sigma = widgets.FloatRangeSlider(
            value=(low, high), description="log10 σ", **steps, **_NARROW
        ).add_class("sse-range")
        asked = ((Curated.FAMILY, "family", 6), (Curated.CONDUCTIVITY_CLASS, "class", 4))
        asked += ((Entry.SOURCE, "source", 3), (Curated.DISORDER_CLASS, "disorder", 5))
        self.chosen = {str(c): _choice(table[c], name, rows=n) for c, name, n in asked}
        self.picker = ElementPicker()
        self.picker.count([{e.symbol for e in parse_formula(c).elements} for c in table[Entry.COMPOSITION]])
        self.reset = widgets.Button(description="clear all filters", layout=widgets.Layout(width="140px"))

    def clear(self) -> None:
        """Show every row again."""
        self.text.value, self.sigma.value = "", (self.sigma.min, self.sigma.max)
        for part in self.chosen.values():
            part.value = ()
        self.picker.required, self.picker.excluded = [], []

    def update(self) -> None:
        """Let distribution, map, table and count follow the filters."""
        table = self.data.table
        values = {column: part.value for column, part in self.chosen.items()}
        keep = matching(table, text=self.text.value, sigma=self.sigma.value, **values)
        self.shown = rows = table[keep & self.picker.matching()]
        counts, _ = np.histogram(rows[Entry.LOG10_SIGMA], _bin_edges(table))
        with self.figure.batch_update():
            self.figure.data[_MATCHING].y = counts
            contents = _map_contents(rows)
            self.figure.data[_MAP].update(x=rows[Curated.MAP_X], y=rows[Curated.MAP_Y], **contents)
            self.figure.data[_MAP].marker.color = rows[Entry.LOG10_SIGMA]
        ordered = row_table(rows)
        self.table.put(ordered, ids=rows.loc[ordered.index, Entry.ID])
        self.status.value = _status(rows, len(table))

    def open(self, compound: str) -> None:
        """Show one compound below the table, with its structure where there is one."""
        row = self.data.row(compound)
        self.mark(row[Curated.MAP_X], row[Curated.MAP_Y])
        figure = compound_structure(self.data, compound)
        missing = "" if figure else "<p>No source gives the structure of this compound.</p>"
        self.compound.put(card(self.data, compound) + missing, figure)


def _choice(values: pd.Series, name: str, *, rows: int) -> widgets.SelectMultiple:
    """Return a list to choose from, with the number of rows of each value."""
    counts = values.astype(object).fillna(UNKNOWN).value_counts()
    return widgets.SelectMultiple(
        options=[(f"{_SHORT.get(value, value)} ({n})", value) for value, n in counts.items()],
        description=name,
        rows=rows,
        **_NARROW,
    )


def _status(rows: pd.DataFrame, total: int) -> str:
    if rows.empty:
        return f"<b>0 of {total} rows</b>: no row passes all filters; clear some of them."
    median = rows[Entry.LOG10_SIGMA].median()
    return (
        f"<b>{len(rows)} of {total} rows</b>, median log10(σ / S cm⁻¹) {median:.2f}, "
        f"{rows[Curated.SUPERIONIC].fillna(False).mean():.0%} at or above 10⁻⁴ S/cm"
    )


def default_compound(data: Dataset) -> str:
    """Return the id of the best conductor with a structure of its own, or of the best of all."""
    own = ~data.table[Entry.CLOSE_MATCH].fillna(False).astype(bool)
    known = data.table[data.table[Entry.STRUCTURE_ID].isin(list(data.structures)) & own]
    rows = known if len(known) else data.table
    return str(rows.loc[rows[Entry.LOG10_SIGMA].idxmax(), Entry.ID])


def static_dataset(data: Dataset, *, n_rows: int = 10) -> Iterator[object]:
    """Yield what a page without widgets shows: figure, best conductors, one compound with its structure."""
    yield overview_figure(data.table)
    yield HTML(f"<p>{_status(data.table, len(data.table))}. The best {min(n_rows, len(data.table))}:</p>")
    yield HTML(html_table(row_table(data.table).head(n_rows).round(2)))
    compound = default_compound(data)
    yield HTML(card(data, compound))
    if figure := compound_structure(data, compound):
        yield figure


show = shower(load_dataset, live=DatasetExplorer, static=static_dataset)
