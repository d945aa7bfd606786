"""Notebook 07: filter the screened candidates, weigh what matters, and see the ranking follow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML

from sselib.columns import StructureTable
from sselib.errors import DataError
from sselib.figures import PALETTE
from sselib.materials.composition import parse_formula
from sselib.panels.display import WRAP, Card, Explorer, drawn_structure, html_table, ring, shower
from sselib.panels.widgets import ElementPicker
from sselib.runfolder import RunFolder
from sselib.screening.pareto import MAXIMISE, Objective, rank_by_objectives
from sselib.screening.scores import Score, described_columns

NOTEBOOK = "07_screening"
MAX_ROWS = 5000  # candidates that the panel handles at interactive speed
_N_LISTED = 300  # rows of the table
_SLIDER = {"layout": {"width": "450px"}, "style": {"description_width": "200px"}}
SCORES = {column: about for column, about in described_columns().items() if about.better and about.heading}
_WORDS = ("change", "family", "parent", "nearest_formula", "dropped_by")


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
    structures = {}
    if (run.root / NOTEBOOK / "structures.parquet").is_file():
        table = run.read_table(NOTEBOOK, "structures").set_index(StructureTable.STRUCTURE_ID)
        structures = table[StructureTable.STRUCTURE_JSON]
    return screening_data(run.read_table(NOTEBOOK, "ranked"), structures=structures)


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
    objectives = [Objective(c, SCORES[c].better, w) for c, w in weights.items() if w > 0]
    if not objectives or table.empty:
        return table.assign(score=np.nan, pareto_front=0)
    found = rank_by_objectives(table, objectives)
    return table.assign(**found).sort_values("score", ascending=False, kind="stable")


def listed_candidates(ranked: pd.DataFrame) -> pd.DataFrame:
    """Return the columns to list: score, front, formula, the scores there are, and words."""
    columns = ["score", "pareto_front", "formula", *scores_in(ranked), *(c for c in _WORDS if c in ranked)]
    return ranked[columns].rename(columns={c: about.heading or c for c, about in described_columns().items()})


def trade_off_figure(ranked: pd.DataFrame, *, x: str, y: str) -> go.Figure:
    """Draw two scores against each other; the candidates that no other beats in every objective stand out."""
    figure = go.Figure()
    styles = (("others", "#9aa5b1", 6), ("not beaten in every objective (front 1)", PALETTE[3], 9))
    for rows, (name, colour, size) in zip(_parts(ranked), styles, strict=True):
        look = {"name": name, "marker": {"color": colour, "size": size}}
        figure.add_scatter(**_points(rows, x=x, y=y), **look, mode="markers")
    figure.add_scatter(**ring()).update_xaxes(title=SCORES[x].heading).update_yaxes(title=SCORES[y].heading)
    return figure.update_layout(height=430, legend={"orientation": "h", "y": 1.1}, margin={"t": 30})


def _parts(ranked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    front = ranked["pareto_front"] == 1
    return ranked[~front], ranked[front]


def _points(rows: pd.DataFrame, *, x: str, y: str) -> dict[str, object]:
    return {
        "x": rows[x],
        "y": rows[y],
        "ids": rows["id"],
        "text": rows["formula"],
        "customdata": rows["score"],
        "hovertemplate": "%{text}<br>%{x:.3g}, %{y:.3g}, score %{customdata:.3f}<extra></extra>",
    }


def candidate_card(row: pd.Series) -> str:
    """Return everything known of a candidate as HTML, one line per column that has a value, scores first."""
    places = {column: k for k, column in enumerate(SCORES)}
    ordered = sorted(row.index, key=lambda c: places.get(c, len(places)))
    facts = [
        (SCORES[c].heading if c in SCORES else c, f"{row[c]:.4g}" if isinstance(row[c], float) else row[c])
        for c in ordered
        if pd.notna(row[c]) and row[c] != ""
    ]
    table = pd.DataFrame(facts, columns=["", "value"])
    return f"<h3>{escape(str(row['formula']))}</h3>{html_table(table)}"


def _status(ranked: pd.DataFrame, data: ScreeningData) -> str:
    front = int((ranked["pareto_front"] == 1).sum())
    cut = f" (the best of {data.n_all} by the notebook's rank)" if data.n_all > len(data.table) else ""
    return f"<b>{len(ranked)} of {len(data.table)} candidates</b>{cut} pass; {front} in the first front"


class ScreeningPanel(Explorer):
    """The live panel."""

    def __init__(self, data: ScreeningData) -> None:
        self.data, self.columns, self.card = data, scores_in(data.table), Card()
        if len(self.columns) < 2:
            raise DataError(
                f"the candidates have {len(self.columns)} scores with different values, expected two or "
                f"more of {', '.join(SCORES)}"
            )
        self._build()
        self.ranked = self._rank()
        super().__init__(trade_off_figure(self.ranked, x=self.x.value, y=self.y.value))
        sliders = [*self.limits.values(), *self.weights.values()]
        self.watch(*sliders, self.x, self.y, self.keep_unknown, self.only_kept)
        self.watch(self.picker, names=("required", "excluded"))
        self.update()
        self.table.selected = self.table.ids[0]
        said = widgets.HTML("<b>Filters</b>"), widgets.HTML("<b>Weights</b> (↑ more, ↓ less is better)")
        filters = widgets.VBox([said[0], *self.limits.values(), self.keep_unknown, self.only_kept])
        weights = widgets.VBox([said[1], *self.weights.values()])
        settings = widgets.Box([filters, weights, self.picker], layout=WRAP)
        axes = widgets.HBox([self.x, self.y])
        self.view = widgets.VBox([settings, self.status, axes, self.figure, self.table, self.card.view])

    def _build(self) -> None:
        table = self.data.table
        self.limits = {c: _limits(table[c], SCORES[c].heading) for c in self.columns}
        self.weights = {c: _weight(SCORES[c]) for c in self.columns}
        names = [(SCORES[c].heading, c) for c in self.columns]
        self.x = widgets.Dropdown(options=names, value=_second(self.columns), description="x axis")
        self.y = widgets.Dropdown(options=names, value=self.columns[0], description="y axis")
        self.keep_unknown, self.only_kept = (
            widgets.Checkbox(value=True, description=text, indent=False)
            for text in ("keep candidates without a value", "hide what notebook 07 dropped")
        )
        self.only_kept.disabled = "dropped_by" not in table
        self.picker = ElementPicker()
        self.picker.count([set(parse_formula(f).get_el_amt_dict()) for f in table["formula"]])

    def _rank(self) -> pd.DataFrame:
        table = _not_dropped(self.data.table) if self.only_kept.value else self.data.table
        limits = {c: s.value for c, s in self.limits.items() if s.value != (s.min, s.max)}
        keep = passing(table, limits, keep_unknown=self.keep_unknown.value)
        rows = table[keep & self.picker.matching()[table.index]]
        return rank_candidates(rows, {c: s.value for c, s in self.weights.items()})

    def update(self) -> None:
        """Let ranking, figure and table follow filters and weights."""
        self.ranked = self._rank()
        x, y = self.x.value, self.y.value
        with self.figure.batch_update():
            for k, rows in enumerate(_parts(self.ranked)):
                self.figure.data[k].update(**_points(rows, x=x, y=y))
            self.figure.update_layout(xaxis_title=SCORES[x].heading, yaxis_title=SCORES[y].heading)
        listed = self.ranked.head(_N_LISTED)
        self.table.put(listed_candidates(listed), ids=listed["id"])
        self.status.value = _status(self.ranked, self.data)

    def open(self, candidate: str) -> None:
        """Show one candidate below the table, with its structure where one was built."""
        row = self.data.table[self.data.table["id"] == candidate].iloc[0]
        self.mark(row[self.x.value], row[self.y.value])
        figure = drawn_structure(self.data.structures.get(candidate), title=str(row["formula"]))
        self.card.put(candidate_card(row), figure)


def _not_dropped(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that notebook 07 kept, all where it does not say."""
    return table[table["dropped_by"].fillna("") == ""] if "dropped_by" in table else table


def _second(columns: list[str]) -> str:
    """Return the score to set against the first: how far a candidate lies from what is known."""
    return next(c for c in ("d_training", "d_composition", *columns[::-1]) if c in columns)


def _weight(score: Score) -> widgets.FloatSlider:
    name = f"{score.heading} {'↑' if score.better == MAXIMISE else '↓'}"
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
    table = _not_dropped(data.table)
    columns = scores_in(table)
    ranked = rank_candidates(table, {c: SCORES[c].weight for c in columns})
    if len(columns) >= 2:
        yield trade_off_figure(ranked, x=_second(columns), y=columns[0])
    weights = ", ".join(f"{SCORES[c].heading} {SCORES[c].weight:g}" for c in columns if SCORES[c].weight)
    yield HTML(f"<p>{_status(ranked, data)}. Weights: {escape(weights) or 'none'}.</p>")
    yield HTML(html_table(listed_candidates(ranked).head(n_rows).round(3)))


show = shower(load_screening_data, live=ScreeningPanel, static=static_candidates)
