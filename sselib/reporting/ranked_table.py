"""A table for the report that can be sorted, filtered and downloaded, without a network.

The HTML is a plain table of the class ``sortable`` and links that carry their files, so that it shows in
JupyterLab too; the report's pages add the sorting and the filter box (`templates/sortable.js`).
"""

import base64
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup, escape
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter

from sselib.runfolder import write_whole
from sselib.screening.scores import described_columns


def sortable_table(table: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> Markup:
    """Return the HTML of a table; ``columns`` gives, by column, its heading and the format of its numbers.

    A format such as ``.2f`` is for numbers, an empty one for text; missing values show as a dash.
    """
    head = "".join(f"<th>{escape(title)}</th>" for title, _ in columns.values())
    formats = [spec for _, spec in columns.values()]
    rows = table[list(columns)].itertuples(index=False, name=None)
    cells = [[f"<td>{_cell(*pair)}</td>" for pair in zip(row, formats, strict=True)] for row in rows]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return Markup(f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _cell(value: object, spec: str) -> Markup:
    if isinstance(value, Markup):
        return value
    if pd.isna(value) or value == "":
        return Markup("–")
    return escape(format(value, spec)) if spec else escape(str(value))


def download_link(content: bytes, *, name: str, mime: str, text: str) -> Markup:
    """Return a link that holds a file; clicking it saves the file under ``name``."""
    data = base64.b64encode(content).decode()
    return Markup('<a href="data:{};base64,{}" download="{}">{}</a>').format(mime, data, name, text)


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as a CSV file."""
    return table.to_csv(index=False).encode()


def structure_to_cif(structure: Structure) -> str:
    """Return the CIF of a structure, occupancies included, every site written out (P1)."""
    bare = Structure(structure.lattice, structure.species_and_occu, structure.frac_coords)
    return str(CifWriter(bare))  # without the labels of a host, so that those of the CIF are unique


def zip_bytes(files: Mapping[str, str]) -> bytes:
    """Return a zip archive of text files by name; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def ranked_html(rows: pd.DataFrame, *, n_pages: int = 0) -> HTML:
    """Return the sortable HTML of the ranked rows of a screening; columns without any value are left out.

    The formulas of the first ``n_pages`` rows lead to their pages (`page_name`) in the report.
    """
    columns = {
        c: (about.heading, about.format)
        for c, about in described_columns().items()
        if about.heading and c in rows and (rows[c].notna() & (rows[c].astype(str) != "")).any()
    }
    formulas = [
        to_page(page_name(int(rank)), formula) if k < n_pages else formula
        for k, (rank, formula) in enumerate(zip(rows["rank"], rows["formula"], strict=True))
    ]
    linked = rows.assign(formula=pd.Series(formulas, index=rows.index, dtype=object))
    return HTML(sortable_table(linked, columns))


def page_name(rank: int) -> str:
    """Return the name of a candidate's page in the report, without its ending."""
    return f"07_candidate_{rank:03d}"


def to_page(name: str, text: str) -> Markup:
    """Return a text that the report makes a link to its page ``name``, if it has one."""
    return Markup('<span class="to-page" title="{}">{}</span>').format(name, text)


def published_html(rows: pd.DataFrame) -> HTML:
    """Return the sortable HTML of the published candidates (`screening.side_by_side`)."""
    columns = {c: (about.heading, about.format) for c, about in described_columns("published").items()}
    return HTML(sortable_table(rows, columns))


def downloads(rows: pd.DataFrame, cifs: Mapping[str, str]) -> HTML:
    """Return links that hold the rows as a CSV and the CIFs, by file name, as a zip archive."""
    table = download_link(
        csv_bytes(rows), name="ranked.csv", mime="text/csv", text=f"CSV of {len(rows)} rows"
    )
    if not cifs:
        return HTML(table)
    text = f"{len(cifs)} CIFs, named by rank"
    archive = download_link(zip_bytes(cifs), name="cifs.zip", mime="application/zip", text=text)
    return HTML(table + Markup(" · ") + archive)


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all."""
    return write_whole(path, lambda p: p.write_bytes(csv_bytes(table)))
