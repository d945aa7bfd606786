"""Figures of notebook 02: enthalpy by generation, children and parents, effort, dynamics.

Each function returns the figure and the data that it draws.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

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


def _colour(operator: str) -> str:
    return OPERATOR_COLOURS.get(operator, PALETTE[6])


def enthalpy_by_generation(table: pd.DataFrame, *, title: str) -> Drawing:
    """Draw each relaxed candidate above the best of the search by generation, as Kim et al.'s Fig. 5a.

    ``table``: columns generation, operator, status, enthalpy_ev_atom (of one search, ours or USPEX's).
    """
    data = table[table["status"].isin(RELAXED)].copy()
    data["above_best_ev_atom"] = data["enthalpy_ev_atom"] - data["enthalpy_ev_atom"].min()
    best = data.groupby("generation")["above_best_ev_atom"].min().cummin()
    figure = go.Figure()
    for operator, part in data.groupby("operator", sort=False):
        figure.add_trace(
            go.Scatter(
                x=part["generation"],
                y=part["above_best_ev_atom"].clip(upper=SHOWN_ABOVE_BEST_EV_ATOM),
                mode="markers",
                name=operator.replace("_", " "),
                marker={"color": _colour(operator), "size": 8},
                cliponaxis=False,
                customdata=part["above_best_ev_atom"],
                hovertemplate="%{customdata:.3f} eV/atom<extra>%{fullData.name}</extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=best.index, y=best, mode="lines", name="lowest so far", line={"color": "#000", "shape": "hv"}
        )
    )
    figure.update_xaxes(title="generation", dtick=1 if data["generation"].max() < 15 else None)
    figure.update_yaxes(title="enthalpy above the best (eV/atom)", rangemode="tozero")
    return figure.update_layout(height=420, title=title), data


def child_minus_parent(table: pd.DataFrame) -> Drawing:
    """Draw enthalpy of each relaxed child minus that of its better parent, as Kim et al.'s Fig. 5b."""
    data = table[table["status"].isin(RELAXED) & table["parent_enthalpy_ev_atom"].notna()].copy()
    data["difference_ev_atom"] = data["enthalpy_ev_atom"] - data["parent_enthalpy_ev_atom"]
    figure = go.Figure()
    for operator, part in data.groupby("operator", sort=True):
        figure.add_trace(
            go.Box(
                y=part["difference_ev_atom"],
                name=f"{operator.replace('_', ' ')} ({len(part)})",
                boxpoints="all",
                pointpos=0,
                jitter=0.4,
                fillcolor="rgba(0,0,0,0)",
                line={"color": "rgba(0,0,0,0)"},
                marker={"color": _colour(operator), "size": 7},
                showlegend=False,
            )
        )
    if data.empty:
        figure.add_annotation(text="no child was relaxed to the end in this run", showarrow=False)
    figure.add_hline(0, line_dash="dot", line_color="#444")
    figure.update_yaxes(title="child minus better parent (eV/atom)")
    figure.update_xaxes(title="operator (number of relaxed children)")
    title = "Enthalpy of children against their parents (below the line: success)"
    return figure.update_layout(height=420, title=title), data


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
    return figure.update_layout(height=420, title=title), drawn


def _add_band(figure: go.Figure, grid: pd.DataFrame, *, name: str, colour: str) -> None:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    x = np.concatenate([grid["evaluations"], grid["evaluations"][::-1]])
    y = np.concatenate([grid["high"], grid["low"][::-1]])
    fill = f"rgba({red},{green},{blue},0.15)"
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            fill="toself",
            fillcolor=fill,
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=grid["evaluations"],
            y=grid["median"],
            mode="lines",
            name=name,
            line={"color": colour, "width": 2, "shape": "hv"},
        )
    )


def dynamics(tables: Mapping[str, pd.DataFrame]) -> Drawing:
    """Draw potential energy, volume and framework displacement against time, as Kim et al.'s Fig. 6."""
    panels = (
        ("energy_ev_atom", "energy above<br>start (eV/atom)"),
        ("volume_angstrom3_atom", "volume<br>(Å<sup>3</sup>/atom)"),
        ("framework_displacement_angstrom", "framework<br>displacement (Å)"),
    )
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    parts = []
    for k, (formula, table) in enumerate(tables.items()):
        shown = table.assign(energy_ev_atom=table["energy_ev_atom"] - table["energy_ev_atom"].iloc[0])
        parts.append(shown.assign(formula=formula))
        for row, (column, _) in enumerate(panels, start=1):
            figure.add_trace(
                go.Scatter(
                    x=shown["time_ps"],
                    y=shown[column],
                    mode="lines",
                    name=formula,
                    legendgroup=formula,
                    showlegend=row == 1,
                    line={"color": PALETTE[k % len(PALETTE)]},
                ),
                row,
                1,
            )
    for row, (_, label) in enumerate(panels, start=1):
        figure.update_yaxes(title=label, row=row, col=1)
    figure.update_xaxes(title="time (ps)", row=3, col=1)
    data = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return figure.update_layout(height=560, title="Molecular dynamics at constant pressure"), data


def uspex_figures(table: pd.DataFrame) -> dict[str, Drawing]:
    """Return the figures of a USPEX run by name: enthalpy by generation, children against parents."""
    drawn = {"uspex_generations": enthalpy_by_generation(table, title="USPEX: enthalpy by generation")}
    if table["parent_enthalpy_ev_atom"].notna().any():
        drawn["uspex_children"] = child_minus_parent(table)
    return drawn
