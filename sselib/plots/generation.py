"""Figures of notebook 02: enthalpy by generation, children and parents, effort, dynamics.

Each function returns the figure and the data that it draws.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb

from crystal_search.database import SearchCandidate
from crystal_search.population import SEED
from crystal_search.relaxation import RELAXED
from sselib.figures import PALETTE
from sselib.generation.campaign import EVOLUTIONARY, RANDOM, SearchCase
from sselib.generation.effort import curves_on_grid, progress_curve

Drawing = tuple[go.Figure, pd.DataFrame]
ARM_COLOURS: dict[str, str] = {EVOLUTIONARY: PALETTE[0], RANDOM: PALETTE[1]}
OPERATOR_COLOURS: dict[str, str] = {
    SEED: "#888888",
    "heredity": PALETTE[0],
    "rattle": PALETTE[1],
    "strain": PALETTE[2],
    "soft_mutation": PALETTE[3],
    "permutation": PALETTE[4],
    "symmetrise": PALETTE[5],
    "kept_best": PALETTE[6],
}
SHOWN_ABOVE_BEST_EV_ATOM = 0.6  # candidates further up are drawn at this height


def enthalpy_by_generation(table: pd.DataFrame, *, title: str) -> Drawing:
    """Draw each relaxed candidate above the best of the search by generation, as Kim et al.'s Fig. 5a.

    ``table``: columns generation, operator, status, enthalpy_ev_atom (of one search, ours or USPEX's).
    """
    data = table[table["status"].isin(RELAXED)].copy()
    data["above_best_ev_atom"] = data["enthalpy_ev_atom"] - data["enthalpy_ev_atom"].min()
    best = data.groupby("generation")["above_best_ev_atom"].min().cummin()
    figure = px.scatter(
        data.assign(shown=data["above_best_ev_atom"].clip(upper=SHOWN_ABOVE_BEST_EV_ATOM)),
        x="generation",
        y="shown",
        color="operator",
        hover_data={"above_best_ev_atom": ":.3f", "shown": False},
        color_discrete_map=OPERATOR_COLOURS,
        labels={"shown": "enthalpy above the best (eV/atom)", "operator": ""},
    )
    figure.update_traces(marker_size=8, cliponaxis=False)
    figure.for_each_trace(lambda trace: trace.update(name=trace.name.replace("_", " ")))
    line = {"color": "#000", "shape": "hv"}
    figure.add_scatter(x=best.index, y=best, mode="lines", name="lowest so far", line=line)
    figure.update_xaxes(dtick=1 if data["generation"].max() < 15 else None)
    figure.update_yaxes(rangemode="tozero")
    return figure.update_layout(height=420, title=title), data


def child_minus_parent(table: pd.DataFrame) -> Drawing:
    """Draw enthalpy of each relaxed child minus that of its better parent, as Kim et al.'s Fig. 5b."""
    data = table[table["status"].isin(RELAXED) & table["parent_enthalpy_ev_atom"].notna()].copy()
    data["difference_ev_atom"] = data["enthalpy_ev_atom"] - data["parent_enthalpy_ev_atom"]
    counts = data["operator"].value_counts()
    figure = px.strip(
        data.sort_values("operator", kind="stable").assign(
            name=[f"{o.replace('_', ' ')} ({counts[o]})" for o in sorted(data["operator"])]
        ),
        x="name",
        y="difference_ev_atom",
        color="operator",
        stripmode="overlay",
        color_discrete_map=OPERATOR_COLOURS,
        labels={
            "name": "operator (number of relaxed children)",
            "difference_ev_atom": "child minus better parent (eV/atom)",
        },
    )
    if data.empty:
        figure.add_annotation(text="no child was relaxed to the end in this run", showarrow=False)
    figure.update_traces(marker_size=7).add_hline(0, line_dash="dot", line_color="#444")
    title = "Enthalpy of children against their parents (below the line: success)"
    return figure.update_layout(height=420, title=title, showlegend=False), data


def effort_comparison(
    searches: Mapping[SearchCase, Sequence[SearchCandidate]],
    formula: str,
    *,
    reference_ev_atom: float | None = None,
) -> Drawing:
    """Draw the best enthalpy against energy evaluations, both arms: median and range over the seeds."""
    figure, parts = go.Figure(), []
    for arm, colour in ARM_COLOURS.items():
        mine = [cs for case, cs in searches.items() if (case.formula, case.arm) == (formula, arm)]
        grid = curves_on_grid([progress_curve(cs) for cs in mine])
        parts.append(grid.assign(arm=arm, formula=formula))
        if grid.empty:
            continue
        _add_band(figure, grid, name=f"{arm} (n = {len(mine)} seeds)", colour=colour)
    if reference_ev_atom is not None:
        figure.add_hline(
            reference_ev_atom,
            line_dash="dot",
            line_color="#444",
            annotation_text="known structure, relaxed",
            annotation_position="bottom right",
        )
    figure.update_xaxes(
        title="energy evaluations (energy, forces and stress count as one)", rangemode="tozero"
    )
    figure.update_yaxes(title="lowest enthalpy so far (eV/atom)")
    drawn = pd.concat(parts, ignore_index=True)
    if len(drawn):
        floor = min(drawn["low"].min(), reference_ev_atom or 0.0)
        figure.update_yaxes(range=[floor - 0.02, min(drawn["high"].max(), floor + SHOWN_ABOVE_BEST_EV_ATOM)])
    title = f"{formula}: evolutionary against random search (band: range over seeds)"
    return figure.update_layout(height=420, title=title, legend_traceorder="normal"), drawn


def _add_band(figure: go.Figure, grid: pd.DataFrame, *, name: str, colour: str) -> None:
    line = {
        "x": grid["evaluations"],
        "mode": "lines",
        "line": {"width": 0, "shape": "hv"},
        "showlegend": False,
    }
    fill = {"fill": "tonexty", "fillcolor": f"rgba{(*hex_to_rgb(colour), 0.15)}"}
    figure.add_scatter(**line, y=grid["low"], hoverinfo="skip")
    figure.add_scatter(**line, y=grid["high"], hoverinfo="skip", **fill)
    shown = {"name": name, "line": {"color": colour, "width": 2, "shape": "hv"}, "showlegend": True}
    figure.add_scatter(**line | shown, y=grid["median"])


def dynamics(tables: Mapping[str, pd.DataFrame]) -> Drawing:
    """Draw potential energy, volume and framework displacement against time, as Kim et al.'s Fig. 6."""
    panels = {
        "energy_ev_atom": "energy above<br>start (eV/atom)",
        "volume_angstrom3_atom": "volume<br>(Å<sup>3</sup>/atom)",
        "framework_displacement_angstrom": "framework<br>displacement (Å)",
    }
    parts = [
        table.assign(
            energy_ev_atom=table["energy_ev_atom"] - table["energy_ev_atom"].iloc[0], formula=formula
        )
        for formula, table in tables.items()
    ]
    data = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["time_ps", "formula", *panels])
    )
    figure = px.line(
        data.melt(["time_ps", "formula"], list(panels), "quantity"),
        x="time_ps",
        y="value",
        color="formula",
        facet_row="quantity",
        facet_row_spacing=0.06,
        color_discrete_sequence=list(PALETTE),
        labels={"time_ps": "time (ps)", "formula": ""},
    )
    for row, label in enumerate(reversed(panels.values()), start=1):  # plotly express counts from below
        figure.update_yaxes(title=label, matches=None, row=row)
    figure.update_annotations(text="")
    return figure.update_layout(height=560, title="Molecular dynamics at constant pressure"), data


def uspex_figures(table: pd.DataFrame) -> dict[str, Drawing]:
    """Return the figures of a USPEX run by name: enthalpy by generation, children against parents."""
    drawn = {"uspex_generations": enthalpy_by_generation(table, title="USPEX: enthalpy by generation")}
    if table["parent_enthalpy_ev_atom"].notna().any():
        drawn["uspex_children"] = child_minus_parent(table)
    return drawn
