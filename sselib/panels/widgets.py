"""Two widgets that ipywidgets lacks: a periodic table to filter by, and a table with rows to click."""

from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import traitlets
from pymatviz import df_ptable

_HERE = Path(__file__).parent
_STYLE = (_HERE / "panels.css").read_text(encoding="utf-8")


class ElementPicker(anywidget.AnyWidget):
    """A periodic table; clicking an element requires it, bans it, frees it.

    ``required`` and ``excluded`` are lists of element symbols, to read, set and observe.
    """

    _esm = (_HERE / "element_picker.js").read_text(encoding="utf-8")
    _css = _STYLE
    elements = traitlets.List(traitlets.Dict()).tag(sync=True)
    required = traitlets.List(traitlets.Unicode()).tag(sync=True)
    excluded = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def count(self, compositions: Sequence[Set[str]]) -> None:
        """Take the elements of each row, to count and to filter; elements in no row cannot be chosen."""
        self.compositions, rows = compositions, Counter(e for found in compositions for e in found)
        self.elements = [
            {
                "symbol": symbol,
                "name": tile["name"],
                "row": int(tile["row"]),
                "column": int(tile["column"]),
                "rows": rows[str(symbol)],
            }
            for symbol, tile in df_ptable.iterrows()
        ]

    def matching(self) -> np.ndarray:
        """Return which rows hold every required element and no excluded one, shape (n,), bool."""
        required, excluded = set(self.required), set(self.excluded)
        return np.array([required <= e and not excluded & e for e in self.compositions], dtype=bool)


class RowTable(anywidget.AnyWidget):
    """A table whose columns sort at a click and whose rows can be selected.

    ``selected`` is the id of the selected row, or an empty text.
    """

    _esm = (_HERE / "row_table.js").read_text(encoding="utf-8")
    _css = _STYLE
    columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rows = traitlets.List(traitlets.List()).tag(sync=True)
    ids = traitlets.List(traitlets.Unicode()).tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)

    def put(self, table: pd.DataFrame, *, ids: pd.Series) -> None:
        """Show the rows of ``table``; ``ids`` has the id of each row."""
        values = table.astype(object).where(table.notna(), None)
        with self.hold_sync():
            self.columns = [str(c) for c in table.columns]
            self.ids = [str(i) for i in ids]
            self.rows = values.to_numpy().tolist()
