"""The page of each of the best candidates in the report: its record, its structure in 3D, its CIF.

Notebook 07 writes the records (`page_records`), `sse report` turns each into an HTML page with
`templates/candidate.html.j2`.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sselib.columns import Entry, StructureTable
from sselib.errors import DataError
from sselib.figures import house_style
from sselib.materials.structures import structure_from_json
from sselib.plots.screening import waterfall
from sselib.plots.structure_view import structure_figure
from sselib.reporting.ranked_table import page_name, structure_to_cif
from sselib.screening.explanation import Explanation, with_unit
from sselib.screening.filters import FilterSettings, filter_details
from sselib.screening.scores import described_columns

NOTEBOOK, FILE = "07_screening", "candidates.json"
_MAX_VERTICES = 5_000  # of a page's 3D view: about 0.3 MB
_MAX_SITES = 600
_NOTES = {
    "sigma_model": "conductivity by the model",
    "note": "from the formula",
    "structure_note": "from the structure",
    "property_note": "MEGNet",
    "relaxation": "geometry",
}


def page_records(
    rows: pd.DataFrame, explanations: Sequence[Explanation], settings: FilterSettings
) -> list[dict[str, object]]:
    """Return one record per row of a ranked list and its explanation, ready for JSON.

    ``rows`` has the columns of notebook 07's ranked list; a score that it lacks, or that has no value, is
    left out of the record. Raises `ValueError` where rows and explanations differ in number.
    """
    return [
        {
            "rank": int(row["rank"]),
            "id": row["id"],
            "formula": row["formula"],
            "origin": ", ".join(filter(None, (row["source"], row["change"], _host(row["parent"])))),
            "sentence": found.sentence,
            "scores": _scores(row),
            "filters": filter_details(row, settings).to_dict("records"),
            "nearest": _nearest(found.nearest),
            "outside": [{**r, "feature": with_unit(r["feature"])} for r in found.outside.to_dict("records")],
            "notes": [f"{origin}: {row[c]}" for c, origin in _NOTES.items() if not _is_missing(row.get(c))],
            "waterfall": json.loads(house_style(waterfall(found)).to_json()),
        }
        for row, found in zip(rows.to_dict("records"), explanations, strict=True)
    ]


def _host(parent: str) -> str:
    return f"from {parent}" if parent else ""


def _scores(row: Mapping[str, object]) -> list[dict[str, str]]:
    found = []
    for column, about in described_columns().items():
        if not about.label or _is_missing(row.get(column)):
            continue
        values = [format(row[c], about.format) for c in about.interval if not _is_missing(row.get(c))]
        around = f"{values[0]} to {values[1]}" if len(values) == 2 else "".join(f"± {v}" for v in values)
        found.append({"label": about.label, "value": format(row[column], about.format), "interval": around})
    return found


def _is_missing(value: object) -> bool:
    return pd.isna(value) or value == ""


def _nearest(nearest: pd.DataFrame) -> list[dict[str, object]]:
    """Return formula, id, measured value in words and distance of each training compound."""
    return [
        {
            "formula": row[Entry.FORMULA],
            "id": row[Entry.ID],
            "measured": f"{'≤ ' if row[Entry.CENSORED] else ''}{row[Entry.LOG10_SIGMA]:.2f}",
            "distance": f"{row['distance']:.3f}",
        }
        for row in nearest.to_dict("records")
    ]


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
