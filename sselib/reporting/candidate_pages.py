"""The page of each of the best candidates in the report: its record, its structure in 3D, its CIF.

Notebook 07 writes the records (`sselib.reporting.candidate_records`), `sse report` turns each into an HTML
page with `templates/candidate.html.j2`.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sselib.columns import StructureTable
from sselib.errors import DataError
from sselib.figures import house_style
from sselib.materials.structures import structure_from_json
from sselib.plots.structure_view import structure_figure
from sselib.reporting.ranked_table import page_name, structure_to_cif

NOTEBOOK, FILE = "07_screening", "candidates.json"
_MAX_VERTICES = 5_000  # of a page's 3D view: about 0.3 MB
_MAX_SITES = 600


@dataclass(frozen=True)
class CandidatePage:
    """One record, its name as a page, and of its structure a figure and a CIF, empty without a structure."""

    name: str
    record: Mapping[str, object]
    figure: Mapping[str, object]
    cif: str

    @property
    def cif_uri(self) -> str:
        """The CIF as a link that holds it."""
        return f"data:chemical/x-cif;base64,{base64.b64encode(self.cif.encode()).decode()}"


def candidate_pages(root: Path) -> Iterator[CandidatePage]:
    """Yield the pages of a run folder, best first; none where notebook 07 left no records."""
    path = root / NOTEBOOK / FILE
    if not path.is_file():
        return
    structures = root / NOTEBOOK / "structures.parquet"
    texts = {}
    if structures.is_file():
        table = pd.read_parquet(structures).set_index(StructureTable.STRUCTURE_ID)
        texts = table[StructureTable.STRUCTURE_JSON].to_dict()
    for record in json.loads(path.read_text(encoding="utf-8")):
        yield _page(record, texts.get(record["id"], ""))


def _page(record: Mapping[str, object], text: str) -> CandidatePage:
    name = page_name(int(record["rank"]))
    if not text:
        return CandidatePage(name, record, {}, "")
    crystal = structure_from_json(text)
    try:
        figure = structure_figure(crystal, max_sites=_MAX_SITES, max_vertices=_MAX_VERTICES)
    except DataError:  # too many sites to draw: the CIF remains
        return CandidatePage(name, record, {}, structure_to_cif(crystal))
    return CandidatePage(name, record, json.loads(house_style(figure).to_json()), structure_to_cif(crystal))
