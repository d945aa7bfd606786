"""Notebook 07: filter the screened candidates, weigh what matters, and see the ranking follow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sselib.columns import StructureTable
from sselib.errors import DataError
from sselib.figures import PALETTE
from sselib.materials.composition import parse_formula
from sselib.panels.display import (
    WRAP,
    Card,
    as_html,
    drawn_structure,
    figure_widget,
    html_table,
    ring,
    shower,
)
from sselib.panels.widgets import ElementPicker, RowTable
from sselib.runfolder import RunFolder
from sselib.screening.pareto import MAXIMISE, MINIMISE, Objective, rank_by_objectives

NOTEBOOK, TABLE = "07_screening", "ranked"
MAX_ROWS = 5000  # candidates that the panel handles at interactive speed
_N_LISTED = 300  # rows of the table
_OTHERS, _FRONT, _PICKED = range(3)  # traces of the figure
_SLIDER = {"layout": {"width": "450px"}, "style": {"description_width": "200px"}}


@dataclass(frozen=True)
class Score:
    """A column to filter and rank by: its words with unit, the better direction, the weight to start with."""

    label: str
    direction: str
    weight: float


SCORES: Mapping[str, Score] = {
    "p_superionic": Score("P(superionic)", MAXIMISE, 1.0),
    "log10_sigma": Score("log10(σ / S cm⁻¹)", MAXIMISE, 1.0),
    "d_training": Score("distance to training", MINIMISE, 0.5),
    "d_composition": Score("composition distance", MINIMISE, 0.0),
    "band_gap_ev": Score("band gap, eV", MAXIMISE, 0.5),
    "formation_energy_ev_atom": Score("formation energy, eV/atom", MINIMISE, 0.5),
    "energy_above_hull_ev_atom": Score("above hull, eV/atom", MINIMISE, 0.5),
    "density_g_cm3": Score("density, g/cm³", MINIMISE, 0.0),
    "bulk_modulus_gpa": Score("bulk modulus, GPa", MINIMISE, 0.0),
    "element_cost_usd_kg": Score("element cost, USD/kg", MINIMISE, 0.5),
    "cost_usd_kg": Score("cost, USD/kg", MINIMISE, 0.5),
}
_WORDS = ("formula", "change", "family", "parent", "nearest_formula", "dropped_by")


@dataclass(frozen=True)
class ScreeningData:
    """Scored candidates (id, formula and whatever scores there are), their structures, how many in all."""

    table: pd.DataFrame
    structures: dict[str, str]
    n_all: int


def load_screening_data(run: RunFolder) -> ScreeningData:
    """Read what notebook 07 left; of more than `MAX_ROWS` candidates the best by its own rank.

    Raises `RunError` if the notebook did not run there, `DataError` without the columns id and formula.
    """
    table = run.read_table(NOTEBOOK, TABLE)
    if not (run.root / NOTEBOOK / "structures.parquet").is_file():
        return screening_data(table, structures={})
    structures = run.read_table(NOTEBOOK, "structures").set_index(StructureTable.STRUCTURE_ID)
    return screening_data(table, structures=structures[StructureTable.STRUCTURE_JSON])


def screening_data(table: pd.DataFrame, *, structures: Mapping[str, str]) -> ScreeningData:
    """Return any table with the columns id and formula as the panel needs it; other columns may be missing.

    ``structures``: texts of `structure_to_json` by candidate id. Raises `DataError` without id or formula.
    """
    missing = [c for c in ("id", "formula") if c not in table]
    if missing or table.empty:
        raise DataError(
            f"the table of candidates has {len(table)} rows and lacks {missing or 'nothing'}: expected at "
            "least one row, with the columns id and formula"
        )
    ordered = table.sort_values("rank", na_position="last", kind="stable") if "rank" in table else table
    return ScreeningData(ordered.head(MAX_ROWS).reset_index(drop=True), dict(structures), len(table))


def scores_in(table: pd.DataFrame) -> list[str]:
    """Return the columns of `SCORES` that hold at least two different values."""
    return [c for c in SCORES if c in table and table[c].min() < table[c].max()]


def passing(
    table: pd.DataFrame, limits: Mapping[str, tuple[float, float]], *, keep_unknown: bool = True
) -> np.ndarray:
    """Return which rows lie within all limits (inclusive), shape (n,).

    A missing value passes with ``keep_unknown``, and drops the row without it.
    """
    keep = np.ones(len(table), dtype=bool)
    for column, (low, high) in limits.items():
        values = table[column].to_numpy(float)
        keep &= ((values >= low) & (values <= high)) | (np.isnan(values) & keep_unknown)
    return keep


def rank_candidates(table: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """Return the table with ``score`` (0 to 1) and ``pareto_front``, best first.

    Objectives are the columns with a weight above 0 (see `sselib.screening.pareto.rank_by_objectives`);
    without any the order stays, score and front are missing.
    """
    objectives = [Objective(c, SCORES[c].direction, w) for c, w in weights.items() if w > 0]
    if not objectives or table.empty:
        return table.assign(score=np.nan, pareto_front=0)
    found = rank_by_objectives(table, objectives)
    return table.assign(**found).sort_values("score", ascending=False, kind="stable")


def listed_candidates(ranked: pd.DataFrame) -> pd.DataFrame:
    """Return the columns to list: score, front, formula, the scores there are, and words."""
    columns = ["score", "pareto_front", "formula", *scores_in(ranked)]
    columns += [c for c in _WORDS if c in ranked and c not in columns]
    return ranked[columns].rename(columns={c: s.label for c, s in SCORES.items()} | {"pareto_front": "front"})


def trade_off_figure(ranked: pd.DataFrame, *, x: str, y: str) -> go.Figure:
    """Draw two scores against each other; the candidates that no other beats in every objective stand out."""
    figure = go.Figure()
    styles = (("others", "#9aa5b1", 6), ("not beaten in every objective (front 1)", PALETTE[3], 9))
    for rows, (name, colour, size) in zip(_parts(ranked), styles, strict=True):
        figure.add_scatter(
            **_points(rows, x=x, y=y), mode="markers", name=name, marker={"color": colour, "size": size}
        )
    figure.add_scatter(**ring())
    figure.update_layout(
        height=430,
        xaxis_title=SCORES[x].label,
        yaxis_title=SCORES[y].label,
        legend={"orientation": "h", "y": 1.1},
        margin={"t": 30},
    )
    return figure


def _parts(ranked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    front = ranked["pareto_front"] == 1
    return ranked[~front], ranked[front]


def _points(rows: pd.DataFrame, *, x: str, y: str) -> dict[str, object]:
    return {
        "x": rows[x],
        "y": rows[y],
        "text": rows["formula"],
        "customdata": rows["score"],
        "hovertemplate": "%{text}<br>%{x:.3g}, %{y:.3g}, score %{customdata:.3f}<extra></extra>",
    }


def candidate_card(row: pd.Series) -> str:
    """Return everything known of a candidate as HTML, one line per column that has a value, scores first."""
    ordered = [*(c for c in SCORES if c in row.index), *(c for c in row.index if c not in SCORES)]
    known = {c: row[c] for c in ordered if pd.notna(row[c]) and row[c] != ""}
    facts = pd.DataFrame(
        [
            (SCORES[k].label if k in SCORES else k, f"{v:.4g}" if isinstance(v, float) else v)
            for k, v in known.items()
        ],
        columns=["", "value"],
    )
    return f"<h3>{escape(str(row['formula']))}</h3>{html_table(facts)}"


def _status(ranked: pd.DataFrame, data: ScreeningData) -> str:
    front = int((ranked["pareto_front"] == 1).sum())
    cut = f" (the best of {data.n_all} by the notebook's rank)" if data.n_all > len(data.table) else ""
    return f"<b>{len(ranked)} of {len(data.table)} candidates</b>{cut} pass; {front} in the first front"


class ScreeningPanel:
    """The live panel. ``view`` is the widget to display; the other attributes are its parts."""

    def __init__(self, data: ScreeningData) -> None:
        self.data = data
        self.columns = scores_in(data.table)
        if len(self.columns) < 2:
            raise DataError(
                f"the candidates have {len(self.columns)} scores with different values, expected two or "
                f"more of {', '.join(SCORES)}"
            )
        self._build()
        self.ranked = self._rank()
        self.figure = figure_widget(trade_off_figure(self.ranked, x=self.x.value, y=self.y.value))
        self.status, self.table = widgets.HTML(), RowTable()
        self.card = Card()
        self._observe()
        self.update()
        self.table.selected = self.table.ids[0]
        self.view = self._layout()

    def _build(self) -> None:
        self.limits = {c: _limits(self.data.table[c], SCORES[c].label) for c in self.columns}
        self.weights = {c: _weight(SCORES[c]) for c in self.columns}
        names = [(SCORES[c].label, c) for c in self.columns]
        self.x = widgets.Dropdown(options=names, value=_second(self.columns), description="x axis")
        self.y = widgets.Dropdown(options=names, value=self.columns[0], description="y axis")
        self.keep_unknown = widgets.Checkbox(
            value=True, description="keep candidates without a value", indent=False
        )
        self.only_kept = widgets.Checkbox(
            value=True, description="hide what notebook 07 dropped", indent=False
        )
        self.only_kept.disabled = "dropped_by" not in self.data.table
        self.picker = ElementPicker()
        self.picker.count([set(parse_formula(f).get_el_amt_dict()) for f in self.data.table["formula"]])

    def _observe(self) -> None:
        sliders = [*self.limits.values(), *self.weights.values()]
        for part in (*sliders, self.x, self.y, self.keep_unknown, self.only_kept):
            part.observe(lambda _: self.update(), names="value")
        self.picker.observe(lambda _: self.update(), names=["required", "excluded"])
        self.table.observe(lambda change: self.open(change["new"]), names="selected")
        for k in (_OTHERS, _FRONT):
            self.figure.data[k].on_click(self._clicked)

    def _layout(self) -> widgets.Widget:
        filters = widgets.VBox(
            [widgets.HTML("<b>Filters</b>"), *self.limits.values(), self.keep_unknown, self.only_kept]
        )
        weights = widgets.VBox(
            [widgets.HTML("<b>Weights</b> (↑ more, ↓ less is better)"), *self.weights.values()]
        )
        settings = widgets.Box([filters, weights, self.picker], layout=WRAP)
        axes = widgets.HBox([self.x, self.y])
        return widgets.VBox([settings, self.status, axes, self.figure, self.table, self.card.view])

    def _rank(self) -> pd.DataFrame:
        table = self.data.table
        limits = {c: s.value for c, s in self.limits.items() if s.value != (s.min, s.max)}
        keep = passing(table, limits, keep_unknown=self.keep_unknown.value)
        if self.only_kept.value and "dropped_by" in table:
            keep &= (table["dropped_by"].fillna("") == "").to_numpy()
        return rank_candidates(
            table[keep & self.picker.matching()], {c: s.value for c, s in self.weights.items()}
        )

    def update(self) -> None:
        """Let ranking, figure and table follow filters and weights."""
        self.ranked = self._rank()
        x, y = self.x.value, self.y.value
        with self.figure.batch_update():
            for k, rows in enumerate(_parts(self.ranked)):
                self.figure.data[k].update(**_points(rows, x=x, y=y))
            self.figure.update_layout(xaxis_title=SCORES[x].label, yaxis_title=SCORES[y].label)
        listed = self.ranked.head(_N_LISTED)
        self.table.put(listed_candidates(listed), ids=listed["id"])
        self.status.value = _status(self.ranked, self.data)

    def open(self, candidate: str) -> None:
        """Show one candidate below the table, with its structure where one was built."""
        row = self.data.table[self.data.table["id"] == candidate].iloc[0]
        with self.figure.batch_update():
            self.figure.data[_PICKED].update(x=[row[self.x.value]], y=[row[self.y.value]])
        figure = drawn_structure(self.data.structures.get(candidate), title=str(row["formula"]))
        self.card.put(candidate_card(row), figure)

    def _clicked(self, trace: object, points: object, _state: object) -> None:
        if points.point_inds:
            rows = _parts(self.ranked)[points.trace_index]
            self.table.selected = str(rows["id"].iloc[points.point_inds[0]])


def _second(columns: list[str]) -> str:
    """Return the score to set against the first: how far a candidate lies from what is known."""
    return next(c for c in ("d_training", "d_composition", *columns[::-1]) if c in columns)


def _weight(score: Score) -> widgets.FloatSlider:
    name = f"{score.label} {'↑' if score.direction == MAXIMISE else '↓'}"
    return widgets.FloatSlider(value=score.weight, min=0, max=3, step=0.1, description=name, **_SLIDER)


def _limits(values: pd.Series, label: str) -> widgets.FloatRangeSlider:
    low, high = float(values.min()), float(values.max())
    step = 10 ** np.floor(np.log10((high - low) / 50))
    low, high = np.floor(low / step) * step, np.ceil(high / step) * step
    slider = widgets.FloatRangeSlider(
        value=(low, high), min=low, max=high, step=step, description=label, readout_format=".3g", **_SLIDER
    )
    return slider.add_class("sse-range")


def static_candidates(data: ScreeningData, *, n_rows: int = 15) -> Iterator[object]:
    """Yield what a page without widgets shows: trade-off, ranking by the weights to start with."""
    table = data.table
    if "dropped_by" in table:
        table = table[table["dropped_by"].fillna("") == ""]
    columns = scores_in(table)
    ranked = rank_candidates(table, {c: SCORES[c].weight for c in columns})
    if len(columns) >= 2:
        yield trade_off_figure(ranked, x=_second(columns), y=columns[0])
    weights = ", ".join(f"{SCORES[c].label} {SCORES[c].weight:g}" for c in columns if SCORES[c].weight)
    yield as_html(f"<p>{_status(ranked, data)}. Weights: {escape(weights) or 'none'}.</p>")
    yield as_html(html_table(listed_candidates(ranked).head(n_rows).round(3)))


show = shower(load_screening_data, live=ScreeningPanel, static=static_candidates)
