"""Figures of notebook 01: what the curated table holds.

Each function returns the figure and the data that it draws, one row per mark or bar. ``table`` has the
columns of `Entry` and `Curated`; rows that a figure cannot show are left out.
"""

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from pymatviz import df_ptable

from sselib.columns import Curated, Entry
from sselib.figures import BARS_Y, PALETTE, SIGMA_LABEL, with_bars
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
_BOUND = {True: ", upper bound", False: ""}
_HATCH = {"fillmode": "overlay", "fgcolor": "white", "size": 6}
_SITE_COLOURS = {"no structure": "#bbbbbb", "ordered": PALETTE[0], "disordered": PALETTE[3]}
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
    order = list(CLASS_COLOURS)
    rows = table.sort_values(
        [Curated.CONDUCTIVITY_CLASS, Entry.CENSORED],
        key=lambda c: c.map(order.index) if c.name == Curated.CONDUCTIVITY_CLASS else c,
    )
    rows = _counted(rows, rows[Curated.CONDUCTIVITY_CLASS] + rows[Entry.CENSORED].map(_BOUND))
    figure = px.histogram(
        rows,
        x=Entry.LOG10_SIGMA,
        color="name",
        pattern_shape="name",
        color_discrete_map=dict(zip(rows["name"], rows[Curated.CONDUCTIVITY_CLASS].map(CLASS_COLOURS))),
        pattern_shape_map=dict(zip(rows["name"], rows[Entry.CENSORED].map({True: "/", False: ""}))),
        labels={Entry.LOG10_SIGMA: SIGMA_LABEL, "name": "class (rows)"},
    )
    line = {"color": "white", "width": 0.5}
    figure.update_traces(xbins=_bins(table), marker={"line": line, "pattern": _HATCH})
    for limit in CLASS_LIMITS.values():
        figure.add_vline(x=limit, line={"color": "#444", "dash": "dot", "width": 1})
    figure.update_yaxes(title=f"rows per {_BIN_WIDTH:g} log units")
    columns = [Entry.ID, Entry.LOG10_SIGMA, Entry.CENSORED, Curated.CONDUCTIVITY_CLASS]
    return figure.update_layout(height=420), table[columns]


def _counted(rows: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Return the rows with a column ``name``: the name with the number of its rows."""
    return rows.assign(name=names + " (" + names.map(names.value_counts()).astype(str) + ")")


def sigma_by_family(table: pd.DataFrame) -> Drawing:
    """Draw the conductivities of each family, the family with the highest median on top."""
    rows = _counted(table, table[Curated.FAMILY].astype(str))
    order = rows.groupby("name")[Entry.LOG10_SIGMA].median().sort_values(ascending=False).index
    figure = px.box(
        rows,
        x=Entry.LOG10_SIGMA,
        y="name",
        points="all",
        hover_name=Entry.FORMULA,
        category_orders={"name": order},
        color_discrete_sequence=[PALETTE[0]],
        labels={Entry.LOG10_SIGMA: SIGMA_LABEL, "name": "family (rows)"},
    )
    marks = {"size": 4, "opacity": 0.5}
    line = {"color": "#444", "width": 1}
    figure.update_traces(jitter=0.5, pointpos=0, marker=marks, line=line, fillcolor="rgba(0,0,0,0)")
    figure.add_vline(x=SUPERIONIC_LOG10_SIGMA, line={"color": PALETTE[3], "dash": "dot"})
    figure.update_layout(height=120 + 32 * len(order), xaxis_range=list(_RANGE_LOG10_SIGMA))
    return figure, table[[Entry.ID, Entry.FORMULA, Curated.FAMILY, Entry.LOG10_SIGMA, Entry.CENSORED]]


def disorder_counts(table: pd.DataFrame) -> Drawing:
    """Draw the disorder classes of the rows with a structure, by conductivity class (Kim et al., Fig. 4c)."""
    known = table.dropna(subset=[Curated.DISORDER_CLASS])
    classes = [Curated.DISORDER_CLASS, Curated.CONDUCTIVITY_CLASS]
    counts = known.groupby(classes).size().reset_index(name="rows")
    totals = counts.groupby(Curated.DISORDER_CLASS)["rows"].sum()
    names = {str(c): f"{c} ({totals[c]})" for c in DisorderClass if c in totals.index}
    figure = px.bar(
        counts.assign(name=counts[Curated.DISORDER_CLASS].map(names)),
        x="rows",
        y="name",
        color=Curated.CONDUCTIVITY_CLASS,
        category_orders={"name": list(names.values()), Curated.CONDUCTIVITY_CLASS: list(CLASS_COLOURS)},
        color_discrete_map=CLASS_COLOURS,
        labels={
            "rows": "rows with a structure",
            "name": "",
            Curated.CONDUCTIVITY_CLASS: "conductivity class",
        },
    )
    return figure.update_layout(height=150 + 55 * len(names)), counts


def split_distribution(table: pd.DataFrame) -> Drawing:
    """Draw conductivities and families of OBELiX's official training and test set beside each other."""
    rows = table.dropna(subset=[Entry.OFFICIAL_SPLIT])
    shares = pd.crosstab(rows[Curated.FAMILY], rows[Entry.OFFICIAL_SPLIT], normalize="columns") * 100
    shares = shares.sort_values("train")
    figure = make_subplots(cols=2, subplot_titles=("conductivity", "family"), horizontal_spacing=0.2)
    for name, colour, offset in (("train", PALETTE[0], -0.4), ("test", PALETTE[1], 0.0)):
        values = rows.loc[rows[Entry.OFFICIAL_SPLIT] == name, Entry.LOG10_SIGMA]
        look = {"name": f"{name} ({len(values)})", "legendgroup": name, "marker_color": colour}
        bins = {"histnorm": "percent", "xbins": _bins(table, width=1.0), "opacity": 0.6}
        figure.add_histogram(x=values, **bins, **look, row=1, col=1)
        place = {"width": 0.4, "offset": offset, "showlegend": False, "row": 1, "col": 2}
        figure.add_bar(y=shares.index, x=shares[name], orientation="h", **look, **place)
    figure.update_xaxes(title=SIGMA_LABEL, col=1).update_xaxes(title="share of the set, %", col=2)
    figure.update_yaxes(title="share of the set per log unit, %", col=1)
    figure.update_layout(height=480, barmode="overlay", legend={"orientation": "h", "y": 1.15})
    return figure, shares.reset_index()


def map_by_family(table: pd.DataFrame) -> Drawing:
    """Draw the map of composition space (UMAP of the element mover's distance), coloured by family."""
    rows = _counted(table, table[Curated.FAMILY].astype(str))
    names = list(rows["name"].value_counts().index)
    look = {
        "color_discrete_map": {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(names)},
        "symbol_map": {name: _SYMBOLS[k // len(PALETTE)] for k, name in enumerate(names)},
    }
    return _map(rows, color="name", symbol="name", category_orders={"name": names}, **look)


def map_by_sigma(table: pd.DataFrame) -> Drawing:
    """Draw the map of composition space, coloured by conductivity; triangles are upper bounds."""
    scale = {"color_continuous_scale": "Viridis", "range_color": (-10, -2)}
    figure, data = _map(table, color=Entry.LOG10_SIGMA, **scale)
    symbols = table[Entry.CENSORED].map({True: "triangle-down", False: "circle"})
    return figure.update_traces(marker_symbol=symbols), data


def _map(rows: pd.DataFrame, **look: object) -> Drawing:
    """Draw the map of composition space; ``look`` goes to plotly express."""
    words = {Curated.MAP_X: "UMAP 1 (no unit)", Curated.MAP_Y: "UMAP 2 (no unit)", "name": "family (rows)"}
    figure = px.scatter(
        rows,
        x=Curated.MAP_X,
        y=Curated.MAP_Y,
        hover_name=Entry.FORMULA,
        hover_data={
            Curated.MAP_X: False,
            Curated.MAP_Y: False,
            Curated.FAMILY: True,
            Entry.LOG10_SIGMA: ":.2f",
        },
        opacity=0.75,
        labels={**words, Entry.LOG10_SIGMA: SIGMA_LABEL},
        **look,
    )
    figure.update_traces(marker={"size": 7, "line": {"width": 0.3, "color": "white"}})
    figure.update_xaxes(**_MAP_AXIS).update_yaxes(**_MAP_AXIS)
    columns = [Entry.ID, Entry.FORMULA, Curated.FAMILY, Curated.CLUSTER, Entry.LOG10_SIGMA, Entry.CENSORED]
    return figure.update_layout(height=560), rows[[*columns, Curated.MAP_X, Curated.MAP_Y]]


def space_group_conductivity(table: pd.DataFrame) -> Drawing:
    """Draw space group against conductivity with its histogram (Fig. 1 of McHaffie et al.)."""
    rows = table.dropna(subset=[Entry.SPACE_GROUP_NUMBER])
    rows = rows.assign(
        site_order=rows[Curated.DISORDER_CLASS].map(
            lambda c: "no structure" if pd.isna(c) else "ordered" if c == DisorderClass.NONE else "disordered"
        )
    )
    drawn = rows.sort_values("site_order", key=lambda c: c.map(list(_SITE_COLOURS).index), kind="stable")
    named = _counted(drawn, drawn["site_order"])
    figure = px.scatter(
        named.assign(number=named[Entry.SPACE_GROUP_NUMBER].astype(float)),
        x="number",
        y=Entry.LOG10_SIGMA,
        color="name",
        marginal_y="histogram",
        hover_name=Entry.FORMULA,
        hover_data=[Entry.SPACE_GROUP_SYMBOL],
        opacity=0.7,
        color_discrete_map={n: _SITE_COLOURS[n.rpartition(" ")[0]] for n in named["name"]},
        labels={"number": "space-group number", Entry.LOG10_SIGMA: SIGMA_LABEL, "name": "sites (rows)"},
    )
    figure.update_traces(marker_size=6, selector={"type": "scatter"})
    figure.update_traces(ybins=_bins(table), opacity=1, selector={"type": "histogram"})
    figure.add_hline(y=SUPERIONIC_LOG10_SIGMA, line={"color": "#444", "dash": "dot"})
    figure.update_layout(height=480, barmode="stack", xaxis_range=[0, 231])
    figure.update_xaxes(title="rows", showticklabels=True, col=2)
    columns = [Entry.ID, Entry.SPACE_GROUP_NUMBER, Entry.SPACE_GROUP_SYMBOL, Entry.LOG10_SIGMA, "site_order"]
    return figure, rows[columns]


def leakage_bars(leakage: pd.DataFrame) -> Drawing:
    """Draw the share of test rows with a counterpart in the training set, per protocol and criterion."""
    percent = leakage.assign(**{c: 100 * leakage[c] for c in ("share", "ci_low", "ci_high")})
    figure = px.bar(
        with_bars(percent, "share", "ci_low", "ci_high"),
        x="criterion",
        y="share",
        **BARS_Y,
        color="protocol",
        barmode="group",
        hover_data=["n"],
        color_discrete_sequence=list(PALETTE),
        labels={"share": "share of test rows, %", "criterion": "", "protocol": ""},
    )
    figure.update_traces(error_y={"thickness": 1, "color": "#444"}).update_yaxes(range=[0, 105])
    return figure.update_layout(height=460, legend={"orientation": "h", "y": 1.12}), leakage


def _bins(table: pd.DataFrame, *, width: float = _BIN_WIDTH) -> dict[str, float]:
    """Return bins that share their edges with the class limits."""
    low, high = table[Entry.LOG10_SIGMA].min(), table[Entry.LOG10_SIGMA].max()
    return {"start": width * (low // width), "end": width * (high // width + 1), "size": width}
