"""Recent electrolytes: conductivities that were read in papers published since 2018.

They lie in `data/recent/conductors.yaml`, one entry per material with the text that states the value.
They judge models trained on the other sources (protocol ``recent``), and then train the models that are
put to use; the other protocols leave them out.
"""

from pathlib import Path

from sselib.columns import Entry
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources.conductor_rows import (
    CONDUCTORS,
    ROW_KEYS,
    Row,
    data_folder,
    entries,
    fault,
    provenance,
    record,
)
from sselib.sources.table import SourceTable, entries_frame, rejects_frame, structures_frame

NAME = "recent"
_KEYS = ROW_KEYS | {"year": True, "read_in": True}


def load(*, folder: Path | None = None) -> SourceTable:
    """Return the recent electrolytes; ids are ``recent:<slug>``, no row has a structure.

    ``folder`` holds `conductors.yaml` (default: `data/recent`). The note of a row names its year and text.
    Raises `DataError`, which names file and row, for anything that is missing, unknown or impossible.
    """
    path = (folder or data_folder(NAME)) / CONDUCTORS
    records = [{**record(row, source=NAME), Entry.NOTE: _note(row)} for row in entries(path, _KEYS)]
    return SourceTable(
        name=NAME,
        entries=validate(entries_frame(records), ENTRIES, what=CONDUCTORS),
        rejects=validate(rejects_frame([]), REJECTS, what=CONDUCTORS),
        structures=validate(structures_frame([]), STRUCTURES, what=CONDUCTORS),
        files=(provenance(path),),
    )


def _note(row: Row) -> str:
    """Return the note of a row: year, where the value was read, and what else is known."""
    if not isinstance(row["year"], int):
        raise fault(CONDUCTORS, str(row["id"]), f"has year {row['year']!r}: expected for example 2023")
    return "; ".join(str(part) for part in (row["year"], row["read_in"], row.get("note")) if part)
