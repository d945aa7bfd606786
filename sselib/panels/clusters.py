"""Notebook 06: the map of composition clusters, what is known and what a classifier says of each.

The map is coloured by cluster, measured conductivity, held-out probability or error; a row of the table of
clusters brings its compounds forward, a click on a point opens the compound.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.metrics import average_precision_score

from sselib.columns import CONTROLS, ClassPrediction, Curated, Entry
from sselib.figures import PALETTE, SIGMA_LABEL
from sselib.panels.compound import CompoundView, Dataset, load_dataset
from sselib.panels.display import as_html, figure_widget, html_table, opened, present
from sselib.panels.widgets import RowTable
from sselib.runfolder import RunFolder

NOTEBOOK = "06_atomsets_loco"
COLOURS: dict[str, str] = {
    "cluster": "cluster",
    "log10_sigma": "measured conductivity",
    "p_superionic": "probability of superionic (held out)",
    "error": "probability minus label (held out)",
}
_POINTS, _PICKED = range(2)  # traces of the map
_FAINT = 0.12
_WIDE = {"layout": {"width": "330px"}, "style": {"description_width": "70px"}}


@dataclass(frozen=True)
class ClusterData:
    """Clustered rows with formula, family and label, held-out probabilities, and notebook 01's tables."""

    points: pd.DataFrame
    predictions: pd.DataFrame
    dataset: Dataset


def load_cluster_data(run: RunFolder) -> ClusterData:
    """Read what notebooks 01 and 06 left. Raises `RunError` if one of them did not run there."""
    dataset = load_dataset(run)
    names = [Entry.ID, Entry.FORMULA, Curated.FAMILY, Entry.LOG10_SIGMA, Curated.SUPERIONIC]
    points = run.read_table(NOTEBOOK, "clusters").merge(dataset.table[names], on=Entry.ID)
    return ClusterData(points, run.read_table(NOTEBOOK, "predictions"), dataset)


def classifier_names(predictions: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (model, features) of each classifier, controls last."""
    P = ClassPrediction
    names = predictions[[P.MODEL, P.FEATURES]].drop_duplicates().itertuples(index=False, name=None)
    return sorted(names, key=lambda n: (n[0] in CONTROLS, n))


def with_probability(data: ClusterData, *, name: tuple[str, str], protocol: str) -> pd.DataFrame:
    """Return the points with p_superionic (mean over repeats) and error (probability minus label).

    Both are NaN where the protocol holds the row out in no fold.
    """
    P = ClassPrediction
    rows = data.predictions
    wanted = (rows[P.MODEL] == name[0]) & (rows[P.FEATURES] == name[1]) & (rows[P.PROTOCOL] == protocol)
    mean = rows[wanted].groupby(P.ID)[P.P_SUPERIONIC].mean()
    points = data.points.assign(p_superionic=data.points[Entry.ID].map(mean))
    return points.assign(error=points["p_superionic"] - points[Curated.SUPERIONIC].astype(float))


def cluster_table(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cluster: rows, commonest family, median label, share superionic, scores.

    ``auc_pr`` is missing in a cluster with one class only; ``brier`` is the mean squared error of the
    held-out probability. Cluster -1 is "none".
    """
    records = []
    for cluster, rows in points.groupby(Curated.CLUSTER):
        judged = rows.dropna(subset=["p_superionic", Curated.SUPERIONIC])
        label = judged[Curated.SUPERIONIC].astype(int)
        both = label.nunique() == 2
        records.append(
            {
                "cluster": "none" if cluster < 0 else str(cluster),
                "rows": len(rows),
                "commonest family": str(rows[Curated.FAMILY].mode().iloc[0]),
                "median log10(σ)": float(rows[Entry.LOG10_SIGMA].median()),
                "share superionic": float(rows[Curated.SUPERIONIC].astype(float).mean()),
                "AUC-PR": float(average_precision_score(label, judged["p_superionic"])) if both else None,
                "Brier": float((judged["error"] ** 2).mean()) if len(judged) else None,
            }
        )
    return pd.DataFrame(records)


def map_figure(points: pd.DataFrame, *, colour: str) -> go.Figure:
    """Draw the map of compositions coloured by a key of `COLOURS`; squares are superionic."""
    figure = go.Figure(go.Scatter(**_contents(points, colour=colour), mode="markers", showlegend=False))
    ring = {"size": 17, "color": "rgba(0,0,0,0)", "line": {"color": "black", "width": 2}}
    figure.add_scatter(x=[], y=[], mode="markers", marker=ring, hoverinfo="skip", showlegend=False)
    for cluster, rows in points[points[Curated.CLUSTER] >= 0].groupby(Curated.CLUSTER):
        place = {"x": rows[Curated.MAP_X].median(), "y": rows[Curated.MAP_Y].max(), "yshift": 12}
        figure.add_annotation(text=f"<b>{cluster}</b>", showarrow=False, **place)
    axis = {"showticklabels": False, "ticks": ""}
    figure.update_xaxes(title="composition map, UMAP 1 (no unit)", **axis)
    figure.update_yaxes(title="UMAP 2 (no unit)", **axis)
    return figure.update_layout(height=480, margin={"t": 20})


def _contents(points: pd.DataFrame, *, colour: str) -> dict[str, object]:
    values = points[[Entry.LOG10_SIGMA, "p_superionic", Curated.CLUSTER]].astype(float).to_numpy()
    return {
        "x": points[Curated.MAP_X],
        "y": points[Curated.MAP_Y],
        "text": points[Entry.FORMULA] + ", " + points[Curated.FAMILY].astype(object),
        "customdata": values,
        "hovertemplate": "%{text}<br>log10(σ) = %{customdata[0]:.2f}, held-out probability "
        "%{customdata[1]:.2f}, cluster %{customdata[2]:.0f}<extra></extra>",
        "marker": {
            "size": 9,
            "line": {"width": 0.5, "color": "#555"},
            "opacity": np.full(len(points), 0.85),
            "symbol": np.where(points[Curated.SUPERIONIC].fillna(False).astype(bool), "square", "circle"),
            **_colouring(points, colour),
        },
    }


def _colouring(points: pd.DataFrame, colour: str) -> dict[str, object]:
    if colour == "cluster":
        colours = [
            "#bbbbbb" if c < 0 else PALETTE[int(c) % (len(PALETTE) - 1)] for c in points[Curated.CLUSTER]
        ]
        return {"color": colours, "showscale": False}
    ranges = {"log10_sigma": (-10, -2), "p_superionic": (0, 1), "error": (-1, 1)}
    scale = "RdBu" if colour == "error" else "Viridis"
    title = SIGMA_LABEL if colour == "log10_sigma" else COLOURS[colour]
    return {
        "color": points[colour],
        "colorscale": scale,
        "cmin": ranges[colour][0],
        "cmax": ranges[colour][1],
        "showscale": True,
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 14},
    }


class ClusterMap:
    """The live panel. ``view`` is the widget to display; the other attributes are its parts."""

    def __init__(self, data: ClusterData) -> None:
        self.data = data
        names = classifier_names(data.predictions)
        options = [(f"{model} on {features}", (model, features)) for model, features in names]
        protocols = list(data.predictions[ClassPrediction.PROTOCOL].unique())
        self.model = widgets.Dropdown(options=options, description="model", **_WIDE)
        self.protocol = widgets.Dropdown(
            options=protocols, value=_hard(protocols), description="protocol", **_WIDE
        )
        colours = [(text, key) for key, text in COLOURS.items()]
        self.colour = widgets.Dropdown(options=colours, description="colour", **_WIDE)
        self.points = self._points()
        self.figure = figure_widget(map_figure(self.points, colour="cluster"))
        self.status, self.table = widgets.HTML(), RowTable()
        self.compound = CompoundView(data.dataset)
        self._observe()
        self.update()
        self.open(str(self.points.loc[self.points[Entry.LOG10_SIGMA].idxmax(), Entry.ID]))
        controls = widgets.Box(
            [self.model, self.protocol, self.colour], layout=widgets.Layout(flex_flow="row wrap")
        )
        self.view = widgets.VBox([controls, self.status, self.figure, self.table, self.compound.view])

    def _observe(self) -> None:
        for part in (self.model, self.protocol, self.colour):
            part.observe(lambda _: self.update(), names="value")
        self.table.observe(lambda _: self.bring_forward(), names="selected")
        self.figure.data[_POINTS].on_click(self._clicked)

    def _points(self) -> pd.DataFrame:
        return with_probability(self.data, name=self.model.value, protocol=self.protocol.value)

    def update(self) -> None:
        """Let map, table and numbers follow model, protocol and colour."""
        self.points = self._points()
        with self.figure.batch_update():
            self.figure.data[_POINTS].update(**_contents(self.points, colour=self.colour.value))
        table = cluster_table(self.points)
        self.table.put(table, ids=table["cluster"])
        judged = self.points.dropna(subset=["error"])
        brier = (judged["error"] ** 2).mean()
        self.status.value = (
            f"<b>{len(self.points)} compounds</b> in {(table['cluster'] != 'none').sum()} clusters; "
            f"{len(judged)} held out under {self.protocol.value}, Brier score {brier:.3f}. Squares: "
            "σ ≥ 10⁻⁴ S/cm. Click a row of the table to bring its cluster forward, a point to open it."
        )
        self.bring_forward()

    def bring_forward(self) -> None:
        """Fade the compounds outside the selected cluster."""
        chosen = self.table.selected
        names = self.points[Curated.CLUSTER].map(lambda c: "none" if c < 0 else str(c))
        with self.figure.batch_update():
            self.figure.data[_POINTS].marker.opacity = np.where(
                (names == chosen) | (not chosen), 0.85, _FAINT
            )

    def open(self, compound: str) -> None:
        """Show one compound below the table."""
        row = self.points[self.points[Entry.ID] == compound]
        with self.figure.batch_update():
            self.figure.data[_PICKED].update(x=row[Curated.MAP_X], y=row[Curated.MAP_Y])
        self.compound.open(compound)

    def _clicked(self, _trace: object, points: object, _state: object) -> None:
        if points.point_inds:
            self.open(self.points[Entry.ID].iloc[points.point_inds[0]])


def _hard(protocols: list[str]) -> str:
    """Return the protocol to show first: one that holds out what is new."""
    return next((p for p in ("loco", "group_family") if p in protocols), protocols[0])


def static_view(data: ClusterData) -> Iterator[object]:
    """Yield what a page without widgets shows: the map by probability, and the table of clusters."""
    name = classifier_names(data.predictions)[0]
    protocol = _hard(list(data.predictions[ClassPrediction.PROTOCOL].unique()))
    points = with_probability(data, name=name, protocol=protocol)
    yield map_figure(points, colour="p_superionic")
    yield as_html(
        f"<p>Held-out probability of {name[0]} on {name[1]}, protocol {protocol}; squares: σ ≥ 10⁻⁴ S/cm.</p>"
    )
    yield as_html(html_table(cluster_table(points).round(2)))


def show(run: RunFolder | Path | str, *, interactive: bool | None = None) -> None:
    """Display the cluster map of a run.

    ``interactive``: None decides by `sselib.panels.display.is_live`. Raises `RunError` where notebook 01 or
    06 has not run in that folder.
    """
    data = load_cluster_data(opened(run))
    present(live=lambda: ClusterMap(data).view, static=lambda: static_view(data), interactive=interactive)
