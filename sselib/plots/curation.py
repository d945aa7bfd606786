"""Figures of notebook 01: what the curated table holds.

Each function returns the figure and the data that it draws, one row per mark or bar. ``table`` has the
columns of `Entry` and `Curated`; rows that a figure cannot show are left out.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from pymatviz import df_ptable

from sselib.columns import Curated, Entry
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.materials.composition import parse_formula
from sselib.materials.conductivity import CLASS_LIMITS, SUPERIONIC_LOG10_SIGMA
from sselib.materials.disorder import DisorderClass

Drawing = tuple[go.Figure, pd.DataFrame]
CLASS_COLOURS: dict[str, str] = {
    "low": PALETTE[5],
    "moderate": PALETTE[0],
    "high": PALETTE[1],
    "superionic": PALETTE[3],
    "undecided": "#999999",
}
_BIN_WIDTH = 0.5  # log10 units
_RANGE_LOG10_SIGMA = (-15.0, 0.0)  # first view of the families; a few values lie below, zoom out
_GREY = "#bbbbbb"
_SYMBOLS = ("circle", "diamond", "cross")
_MAP_AXIS = {"showticklabels": False, "ticks": ""}


def element_prevalence(table: pd.DataFrame) -> Drawing:
    """Draw how many rows hold each element, on the periodic table (Fig. 4a of Kim et al.)."""
    found = [el.symbol for c in table[Entry.COMPOSITION] for el in parse_formula(c).elements]
    counts = df_ptable[["row", "column", "name"]].assign(n=pd.Series(found, dtype=str).value_counts())
    present, absent = counts[counts["n"].notna()], counts[counts["n"].isna()]
    ticks = [n for n in (1, 3, 10, 30, 100, 300, 1000) if n <= present["n"].max()]
    colour = {
        "color": np.log10(present["n"]),
        "colorscale": [[0, "#deebf7"], [1, PALETTE[5]]],
        "cmin": 0,
        "colorbar": {"title": "rows", "tickvals": np.log10(ticks), "ticktext": ticks, "len": 0.9},
    }
    figure = go.Figure([_tiles(absent, color="#f4f4f4"), _tiles(present, **colour)])
    hidden = {"visible": False, "showgrid": False}
    figure.update_layout(
        height=480, showlegend=False, xaxis=hidden, yaxis={**hidden, "autorange": "reversed"}
    )
    data = present["n"].astype(int).sort_values(ascending=False)
    return figure, data.rename_axis("element").reset_index(name="rows")


def _tiles(elements: pd.DataFrame, **marker: object) -> go.Scatter:
    """Draw elements as square tiles with symbol and count."""
    amounts = elements["n"].map(lambda n: "" if pd.isna(n) else f"<br>{n:.0f}")
    return go.Scatter(
        x=elements["column"],
        y=elements["row"],
        mode="markers+text",
        text="<b>" + elements.index + "</b>" + amounts,
        textfont={"size": 10},
        marker={"symbol": "square", "size": 36, **marker},
        hovertemplate=elements["name"] + amounts + "<extra></extra>",
    )


def sigma_by_class(table: pd.DataFrame) -> Drawing:
    """Draw the distribution of conductivities by class, upper bounds hatched (Fig. 4b of Kim et al.)."""
    figure = go.Figure()
    groups = table.groupby([Curated.CONDUCTIVITY_CLASS, Entry.CENSORED])[Entry.LOG10_SIGMA]
    order = list(CLASS_COLOURS)
    for (name, censored), values in sorted(groups, key=lambda item: (order.index(item[0][0]), item[0][1])):
        marker = {"color": CLASS_COLOURS[name], "line": {"color": "white", "width": 0.5}}
        hatch = (
            {"pattern": {"shape": "/", "bgcolor": CLASS_COLOURS[name], "fgcolor": "white", "size": 6}}
            if censored
            else {}
        )
        label = f"{name}{', upper bound' if censored else ''} ({len(values)})"
        figure.add_histogram(x=values, name=label, xbins=_bins(table), marker={**marker, **hatch})
    for limit in CLASS_LIMITS.values():
        figure.add_vline(x=limit, line={"color": "#444", "dash": "dot", "width": 1})
    figure.update_layout(
        barmode="stack",
        height=420,
        legend={"title": "class (rows)", "traceorder": "normal"},
        xaxis_title=SIGMA_LABEL,
        yaxis_title=f"rows per {_BIN_WIDTH:g} log units",
    )
    return figure, table[[Entry.ID, Entry.LOG10_SIGMA, Entry.CENSORED, Curated.CONDUCTIVITY_CLASS]]


def sigma_by_family(table: pd.DataFrame) -> Drawing:
    """Draw the conductivities of each family, the family with the highest median on top."""
    order = table.groupby(Curated.FAMILY)[Entry.LOG10_SIGMA].median().sort_values().index
    counts = table[Curated.FAMILY].value_counts()
    figure = go.Figure()
    for family in order:
        rows = table[table[Curated.FAMILY] == family]
        figure.add_box(
            x=rows[Entry.LOG10_SIGMA],
            name=f"{family} ({counts[family]})",
            boxpoints="all",
            jitter=0.5,
            pointpos=0,
            text=rows[Entry.FORMULA],
            hovertemplate="%{text}<br>%{x:.2f}<extra></extra>",
            marker={"size": 4, "color": PALETTE[0], "opacity": 0.5},
            line={"color": "#444", "width": 1},
            fillcolor="rgba(0,0,0,0)",
            showlegend=False,
        )
    figure.add_vline(x=SUPERIONIC_LOG10_SIGMA, line={"color": PALETTE[3], "dash": "dot"})
    figure.update_layout(
        height=120 + 32 * len(order),
        xaxis_title=SIGMA_LABEL,
        yaxis_title="family (rows)",
        xaxis_range=list(_RANGE_LOG10_SIGMA),
    )
    return figure, table[[Entry.ID, Entry.FORMULA, Curated.FAMILY, Entry.LOG10_SIGMA, Entry.CENSORED]]


def disorder_counts(table: pd.DataFrame) -> Drawing:
    """Draw the disorder classes of the rows with a structure, by conductivity class (Kim et al., Fig. 4c)."""
    known = table.dropna(subset=[Curated.DISORDER_CLASS])
    classes = [Curated.DISORDER_CLASS, Curated.CONDUCTIVITY_CLASS]
    counts = known.groupby(classes).size().reset_index(name="rows")
    totals = counts.groupby(Curated.DISORDER_CLASS)["rows"].sum()
    order = [str(c) for c in DisorderClass if c in totals.index]
    figure = go.Figure()
    for name in (c for c in CLASS_COLOURS if c in set(counts[Curated.CONDUCTIVITY_CLASS])):
        rows = counts[counts[Curated.CONDUCTIVITY_CLASS] == name].set_index(Curated.DISORDER_CLASS)["rows"]
        figure.add_bar(
            y=[f"{c} ({totals[c]})" for c in order],
            x=[int(rows.get(c, 0)) for c in order],
            name=name,
            orientation="h",
            marker={"color": CLASS_COLOURS[name]},
        )
    figure.update_layout(
        barmode="stack",
        height=150 + 55 * len(order),
        xaxis_title="rows with a structure",
        yaxis={"autorange": "reversed"},
        legend={"title": "conductivity class", "traceorder": "normal"},
    )
    return figure, counts


def split_distribution(table: pd.DataFrame) -> Drawing:
    """Draw conductivities and families of OBELiX's official training and test set beside each other."""
    rows = table.dropna(subset=[Entry.OFFICIAL_SPLIT])
    shares = pd.crosstab(rows[Curated.FAMILY], rows[Entry.OFFICIAL_SPLIT], normalize="columns") * 100
    shares = shares.sort_values("train")
    figure = make_subplots(cols=2, subplot_titles=("conductivity", "family"), horizontal_spacing=0.2)
    for name, colour in (("train", PALETTE[0]), ("test", PALETTE[1])):
        values = rows.loc[rows[Entry.OFFICIAL_SPLIT] == name, Entry.LOG10_SIGMA]
        figure.add_histogram(
            x=values,
            histnorm="percent",
            xbins=_bins(table, width=1.0),
            opacity=0.6,
            col=1,
            row=1,
            name=f"{name} ({len(values)})",
            marker={"color": colour},
            legendgroup=name,
        )
        figure.add_bar(
            y=shares.index,
            x=shares[name],
            orientation="h",
            col=2,
            row=1,
            name=name,
            marker={"color": colour},
            legendgroup=name,
            showlegend=False,
        )
    figure.update_layout(height=480, barmode="overlay", legend={"orientation": "h", "y": 1.15}, bargap=0.25)
    figure.update_layout(
        xaxis_title=SIGMA_LABEL,
        yaxis_title="share of the set per log unit, %",
        xaxis2_title="share of the set, %",
    )
    figure.data[1].update(width=0.4, offset=-0.4)
    figure.data[3].update(width=0.4, offset=0.0)
    return figure, shares.reset_index()


def map_by_family(table: pd.DataFrame) -> Drawing:
    """Draw the map of composition space (UMAP of the element mover's distance), coloured by family."""
    figure = go.Figure()
    for k, family in enumerate(table[Curated.FAMILY].value_counts().index):
        rows = table[table[Curated.FAMILY] == family]
        marker = {"color": PALETTE[k % len(PALETTE)], "symbol": _SYMBOLS[k // len(PALETTE)]}
        figure.add_trace(_map_points(rows, name=f"{family} ({len(rows)})", marker=marker))
    return _map_layout(figure).update_layout(legend_title_text="family (rows)"), _map_data(table)


def map_by_sigma(table: pd.DataFrame) -> Drawing:
    """Draw the map of composition space, coloured by conductivity; triangles are upper bounds."""
    scale = {
        "color": table[Entry.LOG10_SIGMA],
        "colorscale": "Viridis",
        "cmin": -10,
        "cmax": -2,
        "colorbar": {"title": {"text": SIGMA_LABEL}},
        "symbol": table[Entry.CENSORED].map({True: "triangle-down", False: "circle"}),
    }
    figure = go.Figure(_map_points(table, name="", marker=scale))
    return _map_layout(figure).update_layout(showlegend=False), _map_data(table)


def space_group_conductivity(table: pd.DataFrame) -> Drawing:
    """Draw space group against conductivity with its histogram (Fig. 1 of McHaffie et al.)."""
    rows = table.dropna(subset=[Entry.SPACE_GROUP_NUMBER])
    rows = rows.assign(
        site_order=rows[Curated.DISORDER_CLASS].map(
            lambda c: "no structure" if pd.isna(c) else "ordered" if c == DisorderClass.NONE else "disordered"
        )
    )
    figure = make_subplots(cols=2, shared_yaxes=True, column_widths=[0.8, 0.2], horizontal_spacing=0.02)
    for name, colour in (("no structure", _GREY), ("ordered", PALETTE[0]), ("disordered", PALETTE[3])):
        part = rows[rows["site_order"] == name]
        figure.add_scatter(
            x=part[Entry.SPACE_GROUP_NUMBER].astype(float),
            y=part[Entry.LOG10_SIGMA],
            mode="markers",
            name=f"{name} ({len(part)})",
            marker={"color": colour, "size": 6, "opacity": 0.7},
            row=1,
            col=1,
            text=part[Entry.FORMULA] + ", " + part[Entry.SPACE_GROUP_SYMBOL].fillna(""),
            hovertemplate="%{text}<br>%{y:.2f}<extra></extra>",
        )
        figure.add_histogram(
            y=part[Entry.LOG10_SIGMA],
            ybins=_bins(table),
            marker={"color": colour},
            row=1,
            col=2,
            showlegend=False,
        )
    figure.add_hline(y=SUPERIONIC_LOG10_SIGMA, line={"color": "#444", "dash": "dot"})
    figure.update_layout(
        height=480,
        barmode="stack",
        xaxis={"title": "space-group number", "range": [0, 231]},
        yaxis={"title": SIGMA_LABEL},
        xaxis2_title="rows",
        legend_title_text="sites (rows)",
    )
    columns = [Entry.ID, Entry.SPACE_GROUP_NUMBER, Entry.SPACE_GROUP_SYMBOL, Entry.LOG10_SIGMA, "site_order"]
    return figure, rows[columns]


def leakage_bars(leakage: pd.DataFrame) -> Drawing:
    """Draw the share of test rows with a counterpart in the training set, per protocol and criterion."""
    figure = go.Figure()
    for k, (protocol, rows) in enumerate(leakage.groupby("protocol", sort=False)):
        share = 100 * rows["share"]
        errors = {
            "type": "data",
            "symmetric": False,
            "array": 100 * rows["ci_high"] - share,
            "arrayminus": share - 100 * rows["ci_low"],
            "thickness": 1,
            "color": "#444",
        }
        figure.add_bar(
            x=rows["criterion"],
            y=share,
            name=protocol,
            error_y=errors,
            marker={"color": PALETTE[k % len(PALETTE)]},
            customdata=rows["n"],
            hovertemplate="%{x}: %{y:.0f} % of %{customdata}<extra>" + str(protocol) + "</extra>",
        )
    figure.update_layout(
        barmode="group",
        height=460,
        yaxis={"title": "share of test rows, %", "range": [0, 105]},
        legend={"orientation": "h", "y": 1.12},
    )
    return figure, leakage


def _bins(table: pd.DataFrame, *, width: float = _BIN_WIDTH) -> dict[str, float]:
    """Return bins that share their edges with the class limits."""
    low, high = table[Entry.LOG10_SIGMA].min(), table[Entry.LOG10_SIGMA].max()
    return {"start": width * (low // width), "end": width * (high // width + 1), "size": width}


def _map_points(rows: pd.DataFrame, *, name: str, marker: dict) -> go.Scatter:
    text = rows[Entry.FORMULA] + ", " + rows[Curated.FAMILY]
    return go.Scatter(
        x=rows[Curated.MAP_X],
        y=rows[Curated.MAP_Y],
        mode="markers",
        name=name,
        text=text,
        marker={"size": 7, "opacity": 0.75, "line": {"width": 0.3, "color": "white"}, **marker},
        customdata=rows[Entry.LOG10_SIGMA],
        hovertemplate="%{text}<br>log10(σ) = %{customdata:.2f}<extra></extra>",
    )


def _map_layout(figure: go.Figure) -> go.Figure:
    titles = {"xaxis_title": "UMAP 1 (no unit)", "yaxis_title": "UMAP 2 (no unit)"}
    return figure.update_layout(height=560, xaxis=_MAP_AXIS, yaxis=_MAP_AXIS, **titles)


def _map_data(table: pd.DataFrame) -> pd.DataFrame:
    return table[
        [
            Entry.ID,
            Entry.FORMULA,
            Curated.FAMILY,
            Curated.CLUSTER,
            Entry.LOG10_SIGMA,
            Entry.CENSORED,
            Curated.MAP_X,
            Curated.MAP_Y,
        ]
    ]
