"""The page `docs/reference-set.md`, written from the files of the embedded reference set.

`python docs/reference_page.py` writes it anew; a test compares it with the files.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sselib.columns import Entry, StructureTable
from sselib.materials.disorder import disorder_class
from sselib.materials.families import normalise_family
from sselib.materials.structures import structure_from_json
from sselib.paths import project_root
from sselib.runfolder import write_whole
from sselib.sources import reference

PAGE = Path("docs") / "reference-set.md"
_HEAD = """# The embedded reference set

Written by `python docs/reference_page.py` from `data/reference/`; do not edit. What the values
rest on, how they were checked and how to add a row: [data/reference/README.md](../data/reference/README.md).
"""


def render_page() -> str:
    """Return the page: counts, families, polymorphs, every row with its provenance, every structure."""
    table = reference.load()
    entries = table.entries.assign(
        family=[
            str(normalise_family(raw, formula))
            for raw, formula in zip(
                table.entries[Entry.FAMILY_RAW], table.entries[Entry.FORMULA], strict=True
            )
        ]
    )
    parts = [
        _HEAD,
        _counts(entries),
        _families(entries),
        _polymorphs(entries),
        _rows(entries),
        _structures(table.structures),
    ]
    return "\n".join(parts)


def write() -> Path:
    """Write the page into the checkout and return its path."""
    text = render_page()
    return write_whole(project_root() / PAGE, lambda path: path.write_text(text, encoding="utf-8"))


def _counts(entries: pd.DataFrame) -> str:
    n_structures = entries[Entry.STRUCTURE_ID].notna().sum()
    return (
        f"{len(entries)} conductors, {n_structures} of them with a full structure, "
        f"{entries[Entry.DOI].notna().sum()} with the DOI of the paper that reports the conductivity, "
        f"{entries[Entry.CENSORED].sum()} upper bounds; log10 of the conductivity (S/cm) from "
        f"{entries[Entry.LOG10_SIGMA].min():.1f} to {entries[Entry.LOG10_SIGMA].max():.1f}.\n"
    )


def _families(entries: pd.DataFrame) -> str:
    """Return one row per normalised family."""
    rows = [
        (family, len(part), part[Entry.STRUCTURE_ID].notna().sum(), f"{part[Entry.LOG10_SIGMA].median():.1f}")
        for family, part in entries.groupby("family")
    ]
    return "## Families\n\n" + _markdown(["family", "rows", "structures", "median log10 sigma"], rows)


def _polymorphs(entries: pd.DataFrame) -> str:
    """Return the compositions that the set holds in several forms, the best conductor of each first."""
    rows = []
    for _, part in entries.groupby(Entry.COMPOSITION, sort=False):
        if len(part) > 1:
            ordered = part.sort_values(Entry.LOG10_SIGMA, ascending=False)
            forms = "; ".join(
                f"{r[Entry.SOURCE_ID]} ({r[Entry.SPACE_GROUP_SYMBOL]}) {_sigma(r)}"
                for r in ordered.to_dict("records")
            )
            spread = ordered[Entry.LOG10_SIGMA].max() - ordered[Entry.LOG10_SIGMA].min()
            rows.append((ordered[Entry.FORMULA].iloc[0], forms, f"{spread:.1f}"))
    title = "## Several forms of one composition\n\n"
    return title + _markdown(["formula", "forms and log10 sigma", "apart by (log units)"], rows)


def _rows(entries: pd.DataFrame) -> str:
    """Return every row with its provenance."""
    rows = [
        (
            r[Entry.SOURCE_ID],
            r[Entry.FORMULA],
            r["family"],
            r[Entry.SPACE_GROUP_SYMBOL] or "",
            _sigma(r),
            "room" if pd.isna(r[Entry.TEMPERATURE_C]) else f"{r[Entry.TEMPERATURE_C]:g}",
            r[Entry.CONDUCTIVITY_KIND],
            "yes" if r[Entry.STRUCTURE_ID] else "",
            _link(r[Entry.DOI]),
            r[Entry.NOTE] or "",
        )
        for r in entries.to_dict("records")
    ]
    names = ["id", "formula", "family", "space group", "log10 sigma", "T (deg C)", "kind", "structure"]
    return "## Conductors\n\n" + _markdown([*names, "DOI", "note"], rows)


def _structures(structures: pd.DataFrame) -> str:
    """Return every structure with its source, cell and disorder."""
    rows, sources = [], reference.references()
    for key, text in zip(
        structures[StructureTable.STRUCTURE_ID], structures[StructureTable.STRUCTURE_JSON], strict=True
    ):
        slug, crystal = key.removeprefix("reference:"), structure_from_json(text)
        n_atoms = crystal.composition.num_atoms
        rows.append(
            (
                slug,
                sources[slug],
                f"{n_atoms:g}",
                f"{crystal.volume / n_atoms:.1f}",
                f"{crystal.density:.2f}",
                str(disorder_class(crystal)),
            )
        )
    names = ["id", "source of the structure", "atoms in the cell", "volume per atom (Angstrom^3)"]
    return "## Structures\n\n" + _markdown([*names, "density (g/cm3)", "disorder"], rows)


def _sigma(row: dict) -> str:
    return f"{'< ' if row[Entry.CENSORED] else ''}{row[Entry.LOG10_SIGMA]:.2f}"


def _link(dois: str | None) -> str:
    return ", ".join(f"[{doi}](https://doi.org/{doi})" for doi in dois.split("|")) if dois else ""


def _markdown(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; bars inside a cell are escaped."""
    lines = [names, ["---"] * len(names), *rows]
    return (
        "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"
    )


if __name__ == "__main__":
    print(write())
