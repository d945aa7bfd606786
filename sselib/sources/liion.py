"""The Liverpool Ionics Dataset (LiIon): 820 conductivities at 5 to 873 deg C, without structures.

Source: Hargreaves et al., npj Comput. Mater. 9, 9 (2023), doi 10.1038/s41524-022-00951-z.
"""

from collections.abc import Mapping

import pandas as pd

from sselib import registry
from sselib.columns import Entry
from sselib.errors import DataError
from sselib.materials.composition import canonical
from sselib.materials.conductivity import parse_conductivity
from sselib.schemas import ENTRIES, REJECTS, validate
from sselib.sources.table import (
    SourceTable,
    clean_doi,
    entries_frame,
    read_number,
    read_rows,
    rejects_frame,
    source_file,
    structures_frame,
)

KEY = "liion/LiIonDatabase.csv"
LOG_TOLERANCE = 0.01  # allowed between the columns target and log_target, log10 units


def load() -> SourceTable:
    """Return every row of LiIon, whatever its temperature; glass notation is read as a sum of its parts.

    Ids are ``liion:<ID>``; a second row with the same number gets ``liion:<ID>-2``. Raises
    `DataError` if the file cannot be had or has the wrong content.
    """
    located = registry.locate(KEY)
    rows = read_file(located).to_dict("records")
    records, rejects = read_rows(rows, source="liion", id_column="source_id", to_record=_to_record)
    return SourceTable(
        name="liion",
        entries=validate(entries_frame(records), ENTRIES, what=KEY),
        rejects=validate(rejects_frame(rejects), REJECTS, what=KEY),
        structures=structures_frame([]),
        files=(source_file(located),),
    )


def read_file(located: registry.Located) -> pd.DataFrame:
    """Return the file as text, in its order, with a unique ``source_id`` for each row."""
    table = pd.read_csv(located.path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    repeat = table.groupby("ID").cumcount() + 1
    table["source_id"] = table["ID"].where(repeat == 1, table["ID"] + "-" + repeat.astype(str))
    return table


def _to_record(row: Mapping[str, str], _number: int) -> dict[str, object]:
    """Read one row; raises an `SSEError` that gives the reason if it cannot be used."""
    conductivity = parse_conductivity(row["target"])
    _require_agreement(conductivity.log10_sigma, row["log_target"])
    doi = clean_doi(row["source"])
    return {
        Entry.ID: f"liion:{row['source_id']}",
        Entry.SOURCE_ID: row["source_id"],
        Entry.FORMULA: row["composition"].strip(),
        Entry.COMPOSITION: canonical(row["composition"]),
        Entry.LOG10_SIGMA: conductivity.log10_sigma,
        Entry.CENSORED: conductivity.censored,
        Entry.TEMPERATURE_C: read_number(row["temperature"], column="temperature", low=-273.15, high=3000),
        Entry.DOI: doi,
        Entry.FAMILY_RAW: row["family"] or None,
        Entry.NOTE: None if doi else f"published in: {row['source']}",
    }


def _require_agreement(log10_sigma: float, written: str) -> None:
    """Raise `DataError` if the file's own logarithm disagrees with its conductivity."""
    logarithm = read_number(written, column="log_target", low=-30, high=1)
    if logarithm is not None and abs(logarithm - log10_sigma) > LOG_TOLERANCE:
        raise DataError(
            f"columns target and log_target disagree: expected one value, found "
            f"10^{log10_sigma:.3f} and 10^{logarithm:.3f} S/cm"
        )
