"""Figures of notebook 03: coverage, distributions, correlation with conductivity.

Each function returns the figure and the data that it draws.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sselib.columns import Entry
from sselib.figures import PALETTE, SIGMA_LABEL

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
_BOUND = "#999999"


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
    figure = go.Figure(
        go.Heatmap(
            z=100 * table,
            x=[f"{name} ({n})" for name, n in sizes.items()],
            y=[words(g) for g in order],
            text=(100 * table).round(0).astype(int),
            texttemplate="%{text}",
            zmin=0,
            zmax=100,
            colorscale=[[0, "#ffffff"], [1, PALETTE[5]]],
            colorbar={"title": "known<br>values, %"},
            hovertemplate="%{y}<br>%{x}<br>%{z:.0f} %<extra></extra>",
        )
    )
    figure.update_layout(
        height=430,
        xaxis={"title": "family (rows)", "tickangle": -40, "showgrid": False},
        yaxis={"autorange": "reversed", "showgrid": False},
    )
    return figure, coverage


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
    figure = go.Figure()
    for group, rows in top.groupby("group", sort=False):
        figure.add_trace(
            go.Scatter(
                x=rows["rho"],
                y=[words(f) for f in rows["feature"]],
                mode="markers",
                name=words(group),
                marker={"color": GROUP_COLOURS[group], "size": 10},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": rows["ci_high"] - rows["rho"],
                    "arrayminus": rows["rho"] - rows["ci_low"],
                },
                customdata=rows["n"],
                hovertemplate="%{y}: %{x:.2f}, n = %{customdata}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": "#444444", "width": 1})
    figure.update_layout(
        height=120 + 26 * len(top),
        xaxis={"title": "rank correlation with conductivity (Spearman), 95 % interval"},
        yaxis={"categoryorder": "array", "categoryarray": [words(f) for f in top["feature"]][::-1]},
        legend={"title": "group"},
    )
    return figure, top


def against_conductivity(
    curated: pd.DataFrame, features: pd.DataFrame, groups: pd.DataFrame, names: Sequence[str]
) -> Drawing:
    """Draw conductivity against each named feature, one panel each; upper bounds in grey."""
    units = groups.set_index("feature")["unit"]
    columns = [Entry.ID, Entry.FORMULA, Entry.LOG10_SIGMA, Entry.CENSORED]
    data = curated[columns].merge(features[["id", *names]], on="id")
    figure = make_subplots(rows=1, cols=len(names), shared_yaxes=True, horizontal_spacing=0.04)
    for i, name in enumerate(names, start=1):
        for censored, label, look in (
            (False, "measured", {"color": PALETTE[0], "symbol": "circle"}),
            (True, "upper bound", {"color": _BOUND, "symbol": "triangle-down"}),
        ):
            rows = data[data[Entry.CENSORED] == censored]
            figure.add_trace(
                go.Scatter(
                    x=rows[name],
                    y=rows[Entry.LOG10_SIGMA],
                    mode="markers",
                    name=label,
                    legendgroup=label,
                    showlegend=i == 1,
                    text=rows[Entry.FORMULA],
                    marker={**look, "size": 6, "opacity": 0.6},
                ),
                row=1,
                col=i,
            )
        figure.update_xaxes(title_text=axis_title(name, units[name]), row=1, col=i)
    figure.update_yaxes(title_text=SIGMA_LABEL, col=1)
    figure.update_layout(height=430, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    return figure, data
