"""Live in JupyterLab, still in a headless run: how a panel comes onto the page.

Jupyter's server names the notebook in the environment of the kernels that it starts; papermill, nbconvert
and nbval start their kernels without it, and nobody could move a slider there. ``SSE_PANELS=live`` or
``static`` decides for programs that neither of this is true of.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML, display
from plotly.io import to_json

from sselib.errors import ParameterError, RunError
from sselib.figures import CONFIG, styled
from sselib.runfolder import RunFolder

SETTING = "SSE_PANELS"
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
        display(styled(item) if isinstance(item, go.Figure) else item)


def opened(run: RunFolder | Path | str) -> RunFolder:
    """Return the run folder to read from. Raises `RunError` if it does not exist."""
    root = run.root if isinstance(run, RunFolder) else Path(run).expanduser().resolve()
    if not root.is_dir():
        raise RunError(f"there is no run folder {root}: expected one written by sse run --out")
    return RunFolder(root=root, notebook="panels")


def html_table(table: pd.DataFrame, *, links: bool = False) -> str:
    """Return a table as HTML without an index; ``links`` keeps links that the cells hold.

    Texts are escaped unless ``links`` says that the caller has done so.
    """
    return table.to_html(index=False, border=0, na_rep="–", escape=not links)


def as_html(text: str) -> HTML:
    """Return HTML text as an object that notebooks and reports show."""
    return HTML(text)


def figure_widget(figure: go.Figure) -> go.FigureWidget:
    """Return the figure as a widget whose points can be clicked, without plotly's upload button."""
    widget = go.FigureWidget(styled(figure))
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
        content = {**styled(figure).to_plotly_json(), "config": _CONFIG}
        text = f"figure: {figure.layout.title.text or 'untitled'}"
        data = {PLOTLY_MIME: _jsonable(content), "text/plain": text}
        self.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)


def _jsonable(content: dict[str, object]) -> dict[str, object]:
    """Return the figure with its arrays as plotly's JSON writes them."""
    config = content.pop("config")
    return {**json.loads(to_json(content, validate=False)), "config": config}
