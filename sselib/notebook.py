"""What every notebook of the suite calls: its run folder, its inputs, its figures and its answer.

A notebook imports one facade per subject (`sselib.curation`, `sselib.regression` ...) and this one.
"""

import pandas as pd
from IPython.display import DisplayHandle, Markdown, display

from sselib import schemas
from sselib.errors import ParameterError
from sselib.figures import publish
from sselib.runfolder import RunFolder, open_run
from sselib.schemas import validate

__all__ = [
    "Answer",
    "ParameterError",
    "RunFolder",
    "answer",
    "curated_rows",
    "data_banner",
    "open_run",
    "publish",
    "schemas",
    "validate",
]

_PENDING = "*The answer stands here when the notebook has run to its end.*"


class Answer:
    """The place under a notebook's question where the answer appears once it has been computed."""

    def __init__(self) -> None:
        self._handle: DisplayHandle = display(Markdown(_PENDING), display_id=True)

    def say(self, *lines: str) -> None:
        """Show three to five sentences there, one a line; they must follow from this run's numbers."""
        self._handle.update(Markdown("\n".join(f"- {line}" for line in lines)))


def answer() -> Answer:
    """Reserve the place of the answer, to be called in the section "Answer"."""
    return Answer()


def curated_rows(run: RunFolder) -> pd.DataFrame:
    """Return the labelled table of notebook 01, checked against its schema."""
    return validate(run.read_table("01_curation", "curated"), schemas.CURATED, what="curated.parquet")


def data_banner(run: RunFolder) -> None:
    """Show what the labels of this run rest on (decided once, by notebook 01) and the files behind them."""
    mode = run.read_json("01_curation", "data_mode")
    files = pd.DataFrame(mode["sources"], columns=["name", "origin", "file", "sha256", "rows"])
    display(Markdown(mode["message"]), files.assign(sha256=files["sha256"].str[:12]))
