"""Live in JupyterLab, still in a headless run: how a panel comes onto the page.

Jupyter's server names the notebook in the environment of the kernels that it starts; papermill, nbconvert
and nbval start their kernels without it, and nobody could move a slider there. ``SSE_PANELS=live`` or
``static`` decides for programs that neither of this is true of.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
from IPython.display import display

from sselib.errors import ParameterError, RunError
from sselib.figures import CONFIG, house_style
from sselib.materials.structures import structure_from_json
from sselib.panels.widgets import RowTable
from sselib.plots.structure_view import structure_figure
from sselib.runfolder import RunFolder

T = TypeVar("T")
SETTING = "SSE_PANELS"
RING = "picked"  # name of the trace that marks a point
WRAP = {"flex_flow": "row wrap"}  # layout of a box whose parts go on below each other on a narrow page
_STRUCTURE_WIDTH = 500  # pixels
_CONFIG = {**CONFIG, "plotlyServerURL": "", "responsive": True}
PLOTLY_MIME = "application/vnd.plotly.v1+json"


def is_live() -> bool:
    """Return whether somebody can use a widget here: the kernel belongs to JupyterLab or Jupyter Notebook."""
    setting = os.environ.get(SETTING, "")
    if setting not in ("", "live", "static"):
        raise ParameterError(f"{SETTING}={setting} is unknown: expected live or static, or leave it unset")
    return setting == "live" if setting else "JPY_SESSION_NAME" in os.environ


def present(
    *, live: Callable[[], widgets.Widget], static: Callable[[], Iterable[object]], interactive: bool | None
) -> None:
    """Display what ``live`` builds, or one after the other what ``static`` yields.

    ``interactive`` decides if it is not None, else `is_live`.
    """
    if is_live() if interactive is None else interactive:
        display(live())
        return
    for item in static():
        display(house_style(item) if isinstance(item, go.Figure) else item)


def shower(
    load: Callable[[RunFolder], T],
    *,
    live: Callable[[T], object],
    static: Callable[[T], Iterable[object]],
) -> Callable[..., None]:
    """Return the function that a notebook calls: ``show(run, *, interactive=None)``.

    ``load`` reads a run folder, ``live`` builds a panel with the attribute ``view`` from that, ``static``
    yields what a page without widgets shows.
    """

    def show(run: RunFolder | Path | str, *, interactive: bool | None = None) -> None:
        """Display the panel of a run; ``interactive``: None decides by `is_live`.

        Raises `RunError` where the run folder is missing or a notebook has not run in it.
        """
        root = run.root if isinstance(run, RunFolder) else Path(run).expanduser().resolve()
        if not root.is_dir():
            raise RunError(f"there is no run folder {root}: expected one written by sse run --out")
        data = load(RunFolder(root=root, notebook="panels"))
        present(live=lambda: live(data).view, static=lambda: static(data), interactive=interactive)

    return show


def html_table(table: pd.DataFrame, *, links: bool = False) -> str:
    """Return a table as HTML without an index; ``links`` keeps links that the cells hold.

    Texts are escaped unless ``links`` says that the caller has done so.
    """
    return table.to_html(index=False, border=0, na_rep="–", escape=not links)


def figure_widget(figure: go.Figure) -> go.FigureWidget:
    """Return the figure as a widget whose points can be clicked, without plotly's upload button."""
    widget = go.FigureWidget(house_style(figure))
    widget._config = {**widget._config, **_CONFIG}
    return widget


class FigureSlot(widgets.Output):
    """A place for one figure at a time, drawn by JupyterLab's plotly extension.

    A `plotly.graph_objects.FigureWidget` brings 5 MB of JavaScript with every instance; this brings none.
    """

    def put(self, figure: go.Figure | None) -> None:
        """Show the figure, or nothing."""
        if figure is None:
            self.outputs = ()
            return
        content = json.loads(house_style(figure).to_json(validate=False)) | {"config": _CONFIG}
        text = f"figure: {figure.layout.title.text or 'untitled'}"
        data = {PLOTLY_MIME: content, "text/plain": text}
        self.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)


def ring() -> dict[str, object]:
    """Return an empty trace that marks the picked point of a figure with a ring (`Explorer.mark`)."""
    marker = {"size": 16, "color": "rgba(0,0,0,0)", "line": {"color": "black", "width": 2}}
    look = {"mode": "markers", "marker": marker, "hoverinfo": "skip", "showlegend": False}
    return {"x": [], "y": [], "name": RING, **look}


class Explorer:
    """What the panels share: a figure, a line of numbers and a table, where a click opens a row.

    The figure's points carry ids (``ids`` of plotly), one of its traces is a `ring`. A subclass gives
    ``update`` (let everything follow the controls), ``open`` (show the row of an id) and ``view``, the widget
    to display.
    """

    view: widgets.Widget

    def __init__(self, figure: go.Figure) -> None:
        self.figure, self.status, self.table = figure_widget(figure), widgets.HTML(), RowTable()
        for trace in self.figure.data:
            if trace.ids is not None:
                trace.on_click(self._clicked)
        self.table.observe(lambda change: self.open(change["new"]), names="selected")

    def watch(self, *controls: widgets.Widget, names: Sequence[str] = ("value",)) -> None:
        """Update when one of the controls changes."""
        for control in controls:
            control.observe(lambda _: self.update(), names=list(names))

    def mark(self, x: float, y: float) -> None:
        """Put the ring around a point."""
        with self.figure.batch_update():
            self.figure.update_traces(x=[x], y=[y], selector={"name": RING})

    def _clicked(self, trace: object, points: object, _state: object) -> None:
        if points.point_inds:
            self.table.selected = str(trace.ids[points.point_inds[0]])


def drawn_structure(text: str | None, *, title: str) -> go.Figure | None:
    """Return the 3D figure of a text of `structure_to_json`, None without one."""
    if not text:
        return None
    return structure_figure(structure_from_json(text), title=title, max_sites=1000)


class Card:
    """Text beside a 3D structure; ``view`` is the widget to display."""

    def __init__(self) -> None:
        self.text, self.structure = widgets.HTML().add_class("sse-card"), FigureSlot()
        side = {"flex": "1 1 380px", "min_width": "0", "overflow": "auto"}
        picture = widgets.Box([self.structure], layout={"flex": f"0 0 {_STRUCTURE_WIDTH + 20}px"})
        self.view = widgets.Box([widgets.Box([self.text], layout=side), picture], layout=WRAP)

    def put(self, html: str, figure: go.Figure | None) -> None:
        """Show a text and a figure of `drawn_structure`, or no figure."""
        self.text.value = html
        self.structure.put(figure.update_layout(width=_STRUCTURE_WIDTH) if figure else None)
