"""The sources that a run rests on: reading them, and saying which could not be had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import pandas as pd

from sselib import registry
from sselib.errors import DataError, ParameterError, nearest
from sselib.sources import EMBEDDED, SOURCES, data_import
from sselib.sources import generated as generated_source
from sselib.sources.table import SourceTable


@dataclass(frozen=True)
class Inputs:
    """The sources as read.

    ``mode`` is "real" where OBELiX takes part, else "embedded"; ``message`` says in a sentence what the
    results rest on; ``skipped`` names the sources that could not be had, with the reason.
    """

    tables: tuple[SourceTable, ...]
    mode: Literal["real", "embedded"]
    message: str
    skipped: dict[str, str]

    def files(self) -> pd.DataFrame:
        """Return one row per file read: source, rows of the source, file, origin, bytes, sha256."""
        rows = [
            (t.name, len(t.entries) + len(t.rejects), f.name, f.origin, f.n_bytes, f.sha256)
            for t in self.tables
            for f in t.files
        ]
        return pd.DataFrame(rows, columns=["source", "rows", "file", "origin", "bytes", "sha256"])

    def data_mode(self) -> dict[str, object]:
        """Return what `data_mode.json` holds: mode, message, and one record per file."""
        n_rows = {t.name: len(t.entries) + len(t.rejects) for t in self.tables}
        records = [
            {"name": t.name, "origin": f.origin, "file": f.name, "sha256": f.sha256, "rows": n_rows[t.name]}
            for t in self.tables
            for f in t.files
        ]
        return {"mode": self.mode, "message": self.message, "sources": records}


def load_sources(
    names: Sequence[str],
    *,
    if_unavailable: str = "skip",
    own: SourceTable | None = None,
    generated: str = "",
) -> Inputs:
    """Read the sources.

    ``names``: any of obelix, liion, reference, recent, and names given to `sse data import`. ``own`` is a
    table that was not imported, see `sselib.sources.own`.
    ``if_unavailable``: what to do about a public source that is neither in the mirror nor in the cache
    and cannot be downloaded: "skip" goes on without it, "stop" raises its `DataError`. A file that is
    there but wrong always raises. ``generated``: path of generated structures, see
    `sselib.sources.generated`; empty means none. Raises `ParameterError` for an unknown name or choice.
    """
    imported = [name for name in names if name not in SOURCES]
    known = list(data_import.stored()) if imported else []
    _check_choice(imported, [*SOURCES, *known], what="source")
    _check_choice([if_unavailable], ["skip", "stop"], what="if_unavailable")
    tables, skipped = [], {}
    for name in names:
        if name in imported:
            tables.append(data_import.load_stored(name))
            continue
        try:
            tables.append(import_module(f"sselib.sources.{name}").load())
        except DataError as error:
            if if_unavailable == "stop" or name in EMBEDDED or registry.available(name):
                raise
            skipped[name] = str(error)
    tables += [own] if own is not None else []
    tables += [generated_source.load(generated, measured=tables)] if generated else []
    mode = "real" if "obelix" in {t.name for t in tables} else "embedded"
    return Inputs(tables=tuple(tables), mode=mode, message=_message(tables, skipped, mode), skipped=skipped)


def _check_choice(found: Sequence[str], valid: list[str], *, what: str) -> None:
    for name in found:
        if name not in valid:
            raise ParameterError(
                f"{what} {name!r} is unknown: expected {', '.join(valid)}.{nearest(name, valid)}{_hint(what)}"
            )


def _hint(what: str) -> str:
    return " Own data become a source with 'sse data import'." if what == "source" else ""


def _message(tables: Sequence[SourceTable], skipped: Mapping[str, str], mode: str) -> str:
    """Say in a sentence what the results of this run rest on."""
    counts = " + ".join(f"{t.name} ({len(t.entries)} measurements)" for t in tables)
    missing = f" Not to be had here: {', '.join(skipped)}." if skipped else ""
    if mode == "real":
        return f"Real data: {counts}.{missing}"
    return (
        f"Embedded mode, without OBELiX: {counts}.{missing} The numbers of this run show that the notebooks "
        "work; they do not compare with published ones. Set SSE_DATA_MIRROR or allow downloads to use OBELiX."
    )
