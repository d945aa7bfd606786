"""OBELiX: 599 crystalline lithium electrolytes at room temperature, 321 of them with a CIF.

Source: Therrien et al., arXiv:2502.14234 (2025).
"""

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

import pandas as pd

from sselib import registry
from sselib.columns import Entry
from sselib.errors import DataError, SSEError
from sselib.materials.cif import read_cif
from sselib.materials.composition import canonical, element_fractions, l1_distances, parse_formula
from sselib.materials.conductivity import parse_conductivity
from sselib.materials.structures import structure_record
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources import liion
from sselib.sources.table import (
    SourceTable,
    clean_doi,
    entries_frame,
    read_number,
    read_rows,
    reject,
    rejects_frame,
    source_file,
    structures_frame,
)

TABLE, TRAIN, TEST, CIFS = (f"obelix/{name}" for name in ("all.csv", "train.csv", "test.csv", "all_cifs.zip"))
SIGMA, SIGMA_BULK, SIGMA_TOTAL = "Ionic conductivity (S cm-1)", "IC (Bulk)", "IC (Total)"
# A slip of the source: 1.6 for 16. Its reduced formula Li2CdCl4, Z = 8 and charge balance all say 16.
CORRECTED_CELL_FORMULAS: dict[str, tuple[str, str]] = {"r5y": ("Li1.6Cd8.0Cl32.0", "Li16.0Cd8.0Cl32.0")}
SAME_COMPOSITION_L1 = 0.002  # rounding only: neighbours in a doping series differ by 0.008
SAME_LOG10_SIGMA = 0.02
_LATTICE = {Entry.A_ANGSTROM: "a", Entry.B_ANGSTROM: "b", Entry.C_ANGSTROM: "c"}
_ANGLES = {Entry.ALPHA_DEG: "alpha", Entry.BETA_DEG: "beta", Entry.GAMMA_DEG: "gamma"}


def load(*, structures: bool = True) -> SourceTable:
    """Return OBELiX's 599 rows, and its 321 structures unless ``structures`` is False (saves 5 s).

    The composition is that of the column True Composition (the content of the cell). ``same_as``
    names the same measurement in LiIon where OBELiX points to a row that agrees with it; it needs
    LiIon's file and stays missing where that cannot be had. Raises `DataError` if OBELiX's files
    cannot be had or have the wrong content.
    """
    located = {key: registry.locate(key) for key in (TABLE, TRAIN, TEST, CIFS)}
    rows, split, cifs = _read(located[TABLE]), _official_split(located), _cif_texts(located[CIFS])
    to_record = partial(_to_record, split=split, cif_ids=set(cifs), links=_liion_links(rows))
    records, rejects = read_rows(
        rows.to_dict("records"), source="obelix", id_column="ID", to_record=to_record
    )
    read, unread = _read_structures(cifs) if structures else ([], [])
    return SourceTable(
        name="obelix",
        entries=validate(entries_frame(records), ENTRIES, what=TABLE),
        rejects=validate(rejects_frame(rejects + unread), REJECTS, what=TABLE),
        structures=validate(structures_frame(read), STRUCTURES, what=CIFS),
        files=tuple(source_file(file) for file in located.values()),
    )


def _read(located: registry.Located) -> pd.DataFrame:
    """Return a table of OBELiX as text."""
    return pd.read_csv(located.path, dtype=str, keep_default_na=False, encoding="utf-8-sig")


def _official_split(located: Mapping[str, registry.Located]) -> dict[str, str]:
    """Return train or test for each id."""
    files = {"train": TRAIN, "test": TEST}
    return {key: name for name, file in files.items() for key in _read(located[file])["ID"]}


def _cif_texts(located: registry.Located) -> dict[str, str]:
    """Return the text of each CIF by the id in its name."""
    with zipfile.ZipFile(located.path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".cif")]
        return {PurePosixPath(name).stem: archive.read(name).decode() for name in names}


def _to_record(
    row: Mapping[str, str],
    _number: int,
    *,
    split: Mapping[str, str],
    cif_ids: set[str],
    links: Mapping[str, str],
) -> dict[str, object]:
    """Read one row; raises an `SSEError` that gives the reason if it cannot be used."""
    key, conductivity, formula = row["ID"], parse_conductivity(row[SIGMA]), _cell_formula(row)
    return {
        Entry.ID: f"obelix:{key}",
        Entry.SOURCE_ID: key,
        Entry.FORMULA: row["Reduced Composition"].strip(),
        Entry.COMPOSITION: canonical(formula),
        Entry.CELL_FORMULA: formula,
        Entry.LOG10_SIGMA: conductivity.log10_sigma,
        Entry.CENSORED: conductivity.censored,
        Entry.CONDUCTIVITY_KIND: _kind(row),
        Entry.DOI: clean_doi(row["DOI"]),
        Entry.FAMILY_RAW: row["Family"].strip() or None,
        Entry.STRUCTURE_ID: f"obelix:{key}" if key in cif_ids else None,
        Entry.CLOSE_MATCH: row["close match"].strip().lower() == "yes",
        Entry.OFFICIAL_SPLIT: split.get(key),
        Entry.SAME_AS: links.get(key),
        Entry.NOTE: _note(row),
        **_cell(row),
    }


def _cell(row: Mapping[str, str]) -> dict[str, object]:
    """Return space group and lattice."""
    lengths = {name: read_number(row[c], column=c, low=0.5, high=1000) for name, c in _LATTICE.items()}
    angles = {name: read_number(row[c], column=c, low=1, high=179) for name, c in _ANGLES.items()}
    number = read_number(row["Space group #"], column="Space group #", low=1, high=230)
    return {
        Entry.SPACE_GROUP_SYMBOL: row["Space group"].replace(" ", "") or None,
        Entry.SPACE_GROUP_NUMBER: number,
        **lengths,
        **angles,
    }


def _cell_formula(row: Mapping[str, str]) -> str:
    """Return the content of the unit cell, with the source's known slip corrected."""
    written, corrected = CORRECTED_CELL_FORMULAS.get(row["ID"], ("", ""))
    return corrected if row["True Composition"] == written else row["True Composition"]


def _kind(row: Mapping[str, str]) -> str:
    """Say whether the row's conductivity is that of the bulk, the total, or unknown."""
    kinds = [
        kind
        for kind, column in (("bulk", SIGMA_BULK), ("total", SIGMA_TOTAL))
        if row[column] and parse_conductivity(row[column]) == parse_conductivity(row[SIGMA])
    ]
    return kinds[0] if len(kinds) == 1 else "unknown"


def _note(row: Mapping[str, str]) -> str | None:
    """Return the source's note, where a close match comes from, and what was corrected here."""
    match, slip = row["close match DOI"].strip(), CORRECTED_CELL_FORMULAS.get(row["ID"])
    parts = [
        row["note"].strip(),
        f"CIF of a close match: {match}" if match else "",
        f"cell content {slip[0]} in the source read as {slip[1]}" if slip else "",
    ]
    return "; ".join(part for part in parts if part) or None


def _read_structures(cifs: Mapping[str, str]) -> tuple[list[dict[str, str]], list[dict[str, object]]]:
    """Return (records of the structures table, rejects)."""
    records, rejects = [], []
    for key, text in cifs.items():
        name = f"{key}.cif"
        try:
            structure = read_cif(text, name=name)
        except DataError as error:
            rejects.append(reject("obelix", source_id=key, reason=str(error), text=name))
            continue
        records.append(
            structure_record(
                structure, structure_id=f"obelix:{key}", source="obelix", text=text, origin=f"{CIFS}/{name}"
            )
        )
    return records, rejects


def _liion_links(rows: pd.DataFrame) -> dict[str, str]:
    """Return the id of the same measurement in LiIon for each OBELiX id that has one.

    OBELiX's column Liion ID holds two things: mostly the position of the row in LiIon's file
    (counted from 0), now and then LiIon's own ID. A link counts only where the row's composition
    and conductivity agree with OBELiX's.
    """
    table = _liion_table()
    if table is None:
        return {}
    by_id = dict(zip(table["source_id"], table.index, strict=True))
    links = {}
    for row in rows[rows["Liion ID"] != ""].to_dict("records"):
        number = int(float(row["Liion ID"]))
        places = [place for place in (number, by_id.get(str(number))) if place in table.index]
        agreeing = [place for place in places if _same(row, table.loc[place])]
        if agreeing:
            links[row["ID"]] = f"liion:{table.loc[agreeing[0], 'source_id']}"
    return links


def _liion_table() -> pd.DataFrame | None:
    """Return LiIon's file, or None where it is neither at hand nor to be downloaded."""
    at_hand = registry.available("liion")
    if not at_hand and registry.offline():
        return None
    try:
        return liion.read_file(registry.locate(liion.KEY))
    except DataError:
        if at_hand:
            raise
        return None


def _same(row: Mapping[str, str], other: pd.Series) -> bool:
    """Say whether an OBELiX row and a LiIon row give the same composition and conductivity."""
    try:
        sigmas = [parse_conductivity(row[SIGMA]), parse_conductivity(other["target"])]
        formulas = [parse_formula(f).formula for f in (_cell_formula(row), other["composition"])]
    except SSEError:
        return False
    first, second = element_fractions(formulas).to_numpy()
    close = abs(sigmas[0].log10_sigma - sigmas[1].log10_sigma) <= SAME_LOG10_SIGMA
    alike = l1_distances(first[None], second[None]).item() <= SAME_COMPOSITION_L1
    return close and alike and sigmas[0].censored == sigmas[1].censored
