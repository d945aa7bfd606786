"""Notebook 04: where the models err, why, and what they would say of something else.

Parity plot and error by family follow the model, the protocol and a selection of points; a click on a point
or row opens its SHAP waterfall and puts its formula into the what-if form.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML
from plotly.subplots import make_subplots

from sselib.columns import CONTROLS, Curated, Entry, Prediction
from sselib.errors import DataError, RunError
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.panels.display import Explorer, FigureSlot, html_table, ring, shower
from sselib.panels.what_if import FormulaWhatIf
from sselib.plots.models import shap_waterfall
from sselib.regression.conductivity_model import load_conductivity_model
from sselib.runfolder import RunFolder

NOTEBOOK = "04_gbr_shap"
_LINE, _POINTS, _RING, _BARS = range(4)  # traces of the figure
_N_FEATURES = 10  # bars of the waterfall, the rest is summed up
_WIDE = {"layout": {"width": "330px"}, "style": {"description_width": "70px"}}


@dataclass(frozen=True)
class ModelData:
    """What the panel reads: held-out predictions with formula and family, SHAP values, units, the model."""

    predictions: pd.DataFrame
    shap: pd.DataFrame
    units: dict[str, str]
    formula_model: object | None
    no_formula_model: str


def load_model_data(run: RunFolder) -> ModelData:
    """Read what notebooks 01, 03 and 04 left. Raises `RunError` if one of them did not run there."""
    predictions = run.read_table(NOTEBOOK, "predictions")
    names = run.read_table("01_curation", "curated")[[Entry.ID, Entry.FORMULA, Curated.FAMILY]]
    groups = run.read_table("03_features", "feature_groups")
    try:
        formula_model, reason = load_conductivity_model(run.root), ""
    except (RunError, DataError) as error:
        formula_model, reason = None, str(error)
    return ModelData(
        predictions=predictions.merge(names, on=Prediction.ID),
        shap=run.read_table(NOTEBOOK, "shap"),
        units=dict(zip(groups["feature"], groups["unit"], strict=True)),
        formula_model=formula_model,
        no_formula_model=reason,
    )


def model_names(predictions: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return (dataset, model, features) of each evaluated model, controls last."""
    P = Prediction
    names = predictions[[P.DATASET, P.MODEL, P.FEATURES]].drop_duplicates().itertuples(index=False, name=None)
    return sorted(names, key=lambda n: (n[1] in CONTROLS, n[0] != "obelix", n[2] != "all", n))


def _of_model(predictions: pd.DataFrame, name: tuple[str, str, str]) -> pd.DataFrame:
    columns = [Prediction.DATASET, Prediction.MODEL, Prediction.FEATURES]
    return predictions[(predictions[columns] == list(name)).all(axis=1)]


def held_out(predictions: pd.DataFrame, *, name: tuple[str, str, str], protocol: str) -> pd.DataFrame:
    """Return one row per compound with the mean of its held-out predictions over repeats.

    Columns: id, formula, family, censored, y_true, y_pred, error (prediction minus label), log10(S/cm).
    """
    P = Prediction
    rows = _of_model(predictions, name)
    rows = rows[rows[P.PROTOCOL] == protocol]
    keys = [P.ID, Entry.FORMULA, Curated.FAMILY, P.CENSORED]
    means = rows.groupby(keys, sort=False, dropna=False)[[P.Y_TRUE, P.Y_PRED]].mean().reset_index()
    return means.assign(error=means[P.Y_PRED] - means[P.Y_TRUE])


def model_figure(rows: pd.DataFrame) -> go.Figure:
    """Draw predicted against measured values beside the mean absolute error of each family."""
    figure = make_subplots(cols=2, column_widths=[0.6, 0.4], horizontal_spacing=0.16)
    ends = _ends(rows)
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": "#888", "dash": "dot"}, hoverinfo="skip")
    figure.add_scatter(
        **_points(rows), mode="markers", marker={"color": PALETTE[0], "size": 7, "opacity": 0.6}
    )
    figure.add_scatter(**ring())
    figure.add_bar(**_bars(rows), orientation="h", marker={"color": PALETTE[5]}, row=1, col=2)
    figure.update_layout(
        height=460,
        showlegend=False,
        dragmode="lasso",
        margin={"t": 30},
        xaxis={"title": f"measured {SIGMA_LABEL}", "range": ends},
        yaxis={"title": f"predicted {SIGMA_LABEL}", "range": ends},
        xaxis2={"title": "mean absolute error, log<sub>10</sub> units", "rangemode": "tozero"},
    )
    return figure


def _ends(rows: pd.DataFrame) -> list[float]:
    values = rows[[Prediction.Y_TRUE, Prediction.Y_PRED]]
    return [values.min(axis=None) - 0.5, values.max(axis=None) + 0.5]


def _points(rows: pd.DataFrame) -> dict[str, object]:
    bound = rows[Prediction.CENSORED].astype(bool)
    return {
        "ids": rows[Prediction.ID],
        "x": rows[Prediction.Y_TRUE],
        "y": rows[Prediction.Y_PRED],
        "text": rows[Entry.FORMULA] + ", " + rows[Curated.FAMILY].astype(object),
        "marker_symbol": bound.map({True: "triangle-left", False: "circle"}),
        "hovertemplate": "%{text}<br>measured %{x:.2f}, predicted %{y:.2f}<extra></extra>",
    }


def _bars(rows: pd.DataFrame) -> dict[str, object]:
    families = rows.groupby(Curated.FAMILY)["error"]
    table = families.agg(mae=lambda e: e.abs().mean(), bias="mean", n="size").sort_values("mae")
    return {
        "x": table["mae"],
        "y": table.index + " (" + table["n"].astype(str) + ")",
        "customdata": table["bias"],
        "hovertemplate": "%{y}: %{x:.2f}, mean of prediction minus label %{customdata:+.2f}<extra></extra>",
    }


def compound_waterfall(data: ModelData, compound: str) -> go.Figure | None:
    """Return the SHAP waterfall of a compound (mean over repeats), None where this run has none for it."""
    rows = data.shap[data.shap["id"] == compound]
    if rows.empty:
        return None
    found = rows.groupby("feature", sort=False)[["value", "shap"]].mean()
    found = found.sort_values("shap", key=np.abs, ascending=False)
    leading, rest = found.head(_N_FEATURES), found.iloc[_N_FEATURES:]
    labels = [
        f"{name} = {value:.3g} {data.units.get(name, '').removesuffix('1')}".strip()
        for name, value in leading["value"].items()
    ]
    formula = data.predictions.loc[data.predictions[Prediction.ID] == compound, Entry.FORMULA].iloc[0]
    title = f"{formula}: SHAP of the held-out prediction (measured {rows['y_true'].iloc[0]:.2f})"
    base = float(rows["y_pred"].mean() - found["shap"].sum())
    shap = [*leading["shap"], rest["shap"].sum()]
    return shap_waterfall([*labels, f"{len(rest)} other features"], shap, base=base, title=title)


def error_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that the table shows, the largest error first."""
    ordered = rows.sort_values("error", key=np.abs, ascending=False)
    return pd.DataFrame(
        {
            "formula": ordered[Entry.FORMULA],
            "family": ordered[Curated.FAMILY].astype(object),
            "measured log10(σ)": ordered[Prediction.Y_TRUE],
            "upper bound": ordered[Prediction.CENSORED].map({True: "yes", False: ""}),
            "predicted log10(σ)": ordered[Prediction.Y_PRED],
            "prediction − measured": ordered["error"],
        }
    )


def _status(rows: pd.DataFrame, chosen: int | None) -> str:
    error = rows["error"]
    what = "held-out compounds" if chosen is None else "selected compounds"
    return (
        f"<b>{len(rows)} {what}</b>: mean absolute error {error.abs().mean():.2f}, mean of prediction minus "
        f"label {error.mean():+.2f} log10 units (bounds at their value)"
    )


class ModelExplorer(Explorer):
    """The live panel."""

    def __init__(self, data: ModelData) -> None:
        self.data = data
        options = [(f"{m} on {f}, data {d}", (d, m, f)) for d, m, f in model_names(data.predictions)]
        self.model = widgets.Dropdown(options=options, description="model", **_WIDE)
        self.protocol = widgets.Dropdown(description="protocol", **_WIDE)
        self.offer_protocols()
        self.rows = self._rows()
        super().__init__(model_figure(self.rows))
        self.waterfall, self.missing = FigureSlot(), widgets.HTML()
        self.formula = FormulaWhatIf(data.formula_model.predict) if data.formula_model else None
        self.model.observe(lambda _: self.offer_protocols(), names="value")
        self.watch(self.model, self.protocol)
        points = self.figure.data[_POINTS]
        points.on_selection(lambda _trace, chosen, _state: self.select(chosen.point_inds))
        points.on_deselect(lambda *_: self.select(None))
        self.update()
        self.table.selected = self.table.ids[0]
        hint = "<small>draw a lasso around points: the error by family is theirs; click a point: why?</small>"
        parts = [widgets.HBox([self.model, self.protocol]), self.status, self.figure, widgets.HTML(hint)]
        parts += [self.table, self.missing, self.waterfall]
        parts.append(widgets.HTML("<b>What if the formula were different</b>"))
        reason = widgets.HTML(f"<p>{self.data.no_formula_model}</p>")
        self.view = widgets.VBox([*parts, self.formula.view if self.formula else reason])

    def offer_protocols(self) -> None:
        """Offer the protocols of the model, and stay with the one that was chosen if it is among them."""
        names = list(_of_model(self.data.predictions, self.model.value)[Prediction.PROTOCOL].unique())
        kept = self.protocol.value if self.protocol.value in names else _hard(names)
        self.protocol.options, self.protocol.value = names, kept

    def _rows(self) -> pd.DataFrame:
        return held_out(self.data.predictions, name=self.model.value, protocol=self.protocol.value)

    def update(self) -> None:
        """Let figure, table and numbers follow the model and the protocol."""
        if self.protocol.value is None:  # new protocols are on their way
            return
        self.rows = self._rows()
        ends = _ends(self.rows)
        with self.figure.batch_update():
            self.figure.data[_POINTS].update(**_points(self.rows), selectedpoints=None)
            self.figure.data[_LINE].update(x=ends, y=ends)
            self.figure.update_layout(xaxis_range=ends, yaxis_range=ends)
        table = error_table(self.rows)
        self.table.put(table, ids=self.rows.loc[table.index, Prediction.ID])
        self.select(None)

    def select(self, positions: list[int] | None) -> None:
        """Restrict the error by family to some points (positions in ``rows``); None: all."""
        rows = self.rows.iloc[positions] if positions else self.rows
        with self.figure.batch_update():
            self.figure.data[_BARS].update(**_bars(rows))
        self.status.value = _status(rows, len(positions) if positions else None)

    def open(self, compound: str) -> None:
        """Explain one compound, and put its formula into the what-if form."""
        row = self.rows[self.rows[Prediction.ID] == compound]
        if row.empty:
            return
        self.mark(row[Prediction.Y_TRUE].iloc[0], row[Prediction.Y_PRED].iloc[0])
        figure = compound_waterfall(self.data, compound)
        self.waterfall.put(figure)
        self.missing.value = "" if figure else "<p>This run holds no SHAP values of this compound.</p>"
        if self.formula:
            self.formula.formula.value = row[Entry.FORMULA].iloc[0]


def _hard(names: list[str]) -> str:
    """Return the protocol to show first: one that holds out what is new."""
    preferred = ("group_chemsys", "group_doi", "group_family", "obelix_official")
    return next((p for p in preferred if p in names), names[0])


def static_models(data: ModelData, *, n_rows: int = 10) -> Iterator[object]:
    """Yield what a page without widgets shows: figure, largest errors, one waterfall."""
    name = model_names(data.predictions)[0]
    protocol = _hard(list(_of_model(data.predictions, name)[Prediction.PROTOCOL].unique()))
    rows = held_out(data.predictions, name=name, protocol=protocol)
    yield model_figure(rows)
    words = f"{name[1]} on {name[2]}, data {name[0]}, protocol {protocol}. {_status(rows, None)}."
    yield HTML(f"<p>{words} The {min(n_rows, len(rows))} largest errors:</p>")
    table = error_table(rows)
    yield HTML(html_table(table.head(n_rows).round(2)))
    explained = rows.loc[table.index, Prediction.ID]
    explained = explained[explained.isin(set(data.shap["id"]))]
    if len(explained):
        yield compound_waterfall(data, explained.iloc[0])


show = shower(load_model_data, live=ModelExplorer, static=static_models)
