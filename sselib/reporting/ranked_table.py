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

_MISSING = "–"


def sortable_table(table: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> Markup:
    """Return the HTML of a table; ``columns`` gives, by column, its heading and the format of its numbers.

    A format such as ``.2f`` is for numbers, an empty one for text; missing values show as a dash.
    """
    head = "".join(f"<th>{escape(title)}</th>" for title, _ in columns.values())
    rows = [
        "".join(
            f"<td>{_cell(value, columns[name][1])}</td>" for name, value in zip(columns, row, strict=True)
        )
        for row in table[list(columns)].itertuples(index=False, name=None)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return Markup(f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _cell(value: object, spec: str) -> Markup:
    if isinstance(value, Markup):
        return value
    if value is None or value is pd.NA or value != value or value == "":
        return Markup(_MISSING)
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


# The ranked list of a screening: column -> (heading, format of its numbers).
RANKED_COLUMNS: Mapping[str, tuple[str, str]] = {
    "rank": ("rank", ""),
    "formula": ("formula", ""),
    "change": ("change", ""),
    "parent": ("host", ""),
    "p_superionic": ("P", ".3f"),
    "p_superionic_sd": ("sd", ".3f"),
    "log10_sigma": ("log₁₀(σ / S cm⁻¹)", ".2f"),
    "lower": ("lower", ".1f"),
    "upper": ("upper", ".1f"),
    "d_training": ("d training (L1)", ".2f"),
    "d_composition": ("d composition (L1)", ".2f"),
    "band_gap_ev": ("gap / eV", ".2f"),
    "band_gap_sd_ev": ("gap sd / eV", ".2f"),
    "formation_energy_ev_atom": ("E form / (eV/atom)", ".2f"),
    "bulk_modulus_gpa": ("K / GPa", ".0f"),
    "shear_modulus_gpa": ("G / GPa", ".0f"),
    "density_g_cm3": ("density / (g/cm³)", ".2f"),
    "element_cost_usd_kg": ("cost / (USD/kg)", ".0f"),
    "toxic_elements": ("toxic", ""),
    "critical_elements": ("critical", ""),
    "scarcest_element": ("scarcest", ""),
    "energy_above_hull_ev_atom": ("E hull / (eV/atom)", ".3f"),
    "pareto_front": ("front", ""),
    "score": ("score", ".3f"),
    "nearest_formula": ("nearest known", ""),
    "nearest_log10_sigma": ("its log σ", ".2f"),
    "not_judged": ("not judged by", ""),
}


def ranked_html(rows: pd.DataFrame, *, n_pages: int = 0) -> HTML:
    """Return the sortable HTML of the ranked rows of a screening; columns without any value are left out.

    The formulas of the first ``n_pages`` rows lead to their pages (`page_name`) in the report.
    """
    columns = {c: shown for c, shown in RANKED_COLUMNS.items() if c in rows and _has_values(rows[c])}
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


def _has_values(column: pd.Series) -> bool:
    return bool((column.notna() & (column.astype(str) != "")).any())


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


# The published candidates: column -> (heading, format of its numbers).
PUBLISHED_COLUMNS: Mapping[str, tuple[str, str]] = {
    "formula": ("formula", ""),
    "log10_measured": ("measured log₁₀(σ / S cm⁻¹)", ".2f"),
    "log10_sigma": ("predicted", ".2f"),
    "lower": ("lower", ".1f"),
    "upper": ("upper", ".1f"),
    "log10_blind": ("without relatives", ".2f"),
    "p_superionic": ("P", ".2f"),
    "p_blind": ("P without relatives", ".2f"),
    "their_p_superionic": ("their P", ".2f"),
    "is_known": ("in training (5 %)", ""),
    "n_removed": ("relatives", ""),
    "d_composition": ("distance", ".2f"),
    "nearest_formula": ("nearest known", ""),
    "nearest_log10_sigma": ("its log σ", ".2f"),
}
