"""Figures of notebook 03: coverage, distributions, correlation with conductivity.

Each function returns the figure and the data that it draws.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sselib.columns import Entry
from sselib.figures import BARS_X, PALETTE, SIGMA_LABEL, with_bars

Drawing = tuple[go.Figure, pd.DataFrame]
GROUP_COLOURS: dict[str, str] = {
    "stoichiometric": PALETTE[0],
    "elemental": PALETTE[5],
    "geometric": PALETTE[3],
    "pores": PALETTE[1],
    "lattice_invariant": PALETTE[2],
    "disorder": PALETTE[4],
    "symmetry": PALETTE[6],
}
_UNITS = {
    "Angstrom": "Å",
    "Angstrom^3": "Å<sup>3</sup>",
    "g/cm3": "g cm<sup>−3</sup>",
    "cm3/g": "cm<sup>3</sup> g<sup>−1</sup>",
    "k_B": "k<sub>B</sub>",
    "1": "",
}
_UNIT_ENDINGS = ("_angstrom3", "_angstrom", "_g_cm3", "_kb", "_ev", "_u")


def words(feature: str) -> str:
    """Return a feature's name for a reader: without unit and underscores."""
    feature = feature.replace("_cm3_g", "_per_gram")
    for ending in _UNIT_ENDINGS:
        feature = feature.removesuffix(ending)
    return feature.replace("_", " ").replace("poav", "POAV").replace("pov", "POV")


def axis_title(feature: str, unit: str) -> str:
    """Return a feature's name with its unit."""
    shown = _UNITS.get(unit, unit)
    return f"{words(feature)} ({shown})" if shown else words(feature)


def coverage_map(coverage: pd.DataFrame) -> Drawing:
    """Draw the share of known values per group of features and family, families by size."""
    sizes = coverage.groupby("by")["n"].first().sort_values(ascending=False)
    order = list(dict.fromkeys(coverage["group"]))
    table = coverage.pivot_table(index="group", columns="by", values="share").loc[order, sizes.index]
    figure = px.imshow(
        (100 * table).set_axis([f"{name} ({n})" for name, n in sizes.items()], axis=1).rename(index=words),
        zmin=0,
        zmax=100,
        text_auto=".0f",
        aspect="auto",
        color_continuous_scale=["#ffffff", PALETTE[5]],
        labels={"x": "family (rows)", "y": "", "color": "known<br>values, %"},
    )
    figure.update_xaxes(tickangle=-40, showgrid=False).update_yaxes(showgrid=False)
    return figure.update_layout(height=430), coverage


def distributions(features: pd.DataFrame, groups: pd.DataFrame, names: Sequence[str]) -> Drawing:
    """Draw a histogram of each named feature; its title gives the number of rows that have it."""
    units = groups.set_index("feature")["unit"]
    known = {name: features[name].dropna() for name in names}
    n_rows = -(-len(names) // 3)
    figure = make_subplots(
        rows=n_rows,
        cols=3,
        vertical_spacing=0.4 / n_rows,
        horizontal_spacing=0.09,
        subplot_titles=[f"n = {len(v)}" for v in known.values()],
    )
    for i, (name, values) in enumerate(known.items()):
        place = {"row": i // 3 + 1, "col": i % 3 + 1}
        colour = GROUP_COLOURS[groups.set_index("feature").loc[name, "group"]]
        figure.add_trace(go.Histogram(x=values, nbinsx=30, marker_color=colour, showlegend=False), **place)
        figure.update_xaxes(title_text=axis_title(name, units[name]), title_font_size=12, **place)
    figure.update_yaxes(title_text="rows", col=1)
    figure.update_annotations(font_size=12)
    figure.update_layout(height=320 * n_rows + 40)
    return figure, features[["id", *names]]


def strongest_correlations(table: pd.DataFrame, *, n: int = 20) -> Drawing:
    """Draw the ``n`` strongest rank correlations with their intervals, coloured by group."""
    top = table.head(n)
    figure = px.scatter(
        with_bars(top, "rho", "ci_low", "ci_high").assign(group=top["group"].map(words)),
        x="rho",
        y=top["feature"].map(words),
        **BARS_X,
        color="group",
        hover_data=["n"],
        category_orders={"y": top["feature"].map(words)},
        color_discrete_map={words(group): colour for group, colour in GROUP_COLOURS.items()},
        labels={"rho": "rank correlation with conductivity (Spearman), 95 % interval", "y": ""},
    )
    figure.update_traces(marker_size=10).add_vline(x=0, line={"color": "#444444", "width": 1})
    return figure.update_layout(height=120 + 26 * len(top)), top


def against_conductivity(
    curated: pd.DataFrame, features: pd.DataFrame, groups: pd.DataFrame, names: Sequence[str]
) -> Drawing:
    """Draw conductivity against each named feature, one panel each; upper bounds in grey."""
    units = groups.set_index("feature")["unit"]
    columns = [Entry.ID, Entry.FORMULA, Entry.LOG10_SIGMA, Entry.CENSORED]
    data = curated[columns].merge(features[["id", *names]], on="id")
    kind = data[Entry.CENSORED].map({False: "measured", True: "upper bound"})
    figure = px.scatter(
        data.assign(kind=kind).melt([*columns, "kind"], names, "feature"),
        x="value",
        y=Entry.LOG10_SIGMA,
        color="kind",
        symbol="kind",
        facet_col="feature",
        facet_col_spacing=0.04,
        hover_name=Entry.FORMULA,
        category_orders={"kind": ["measured", "upper bound"]},
        color_discrete_sequence=[PALETTE[0], "#999999"],
        symbol_sequence=["circle", "triangle-down"],
        labels={Entry.LOG10_SIGMA: SIGMA_LABEL, "kind": ""},
    )
    for k, name in enumerate(names, start=1):
        figure.update_xaxes(title=axis_title(name, units[name]), matches=None, col=k)
    figure.update_traces(marker={"size": 6, "opacity": 0.6}).update_annotations(text="")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return figure.update_layout(height=430, legend=legend), data
