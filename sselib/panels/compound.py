"""One compound: its measurements in every source, its near-duplicates, findings and 3D structure."""

from dataclasses import dataclass
from html import escape

import pandas as pd
import plotly.graph_objects as go

from sselib.columns import Curated, Entry, StructureTable
from sselib.errors import DataError
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.structures import FINDINGS
from sselib.panels.display import drawn_structure, html_table
from sselib.runfolder import RunFolder

NOTEBOOK = "01_curation"
_MISSING = "–"
_N_SIMILAR = 12  # near-duplicates listed


@dataclass(frozen=True)
class Dataset:
    """What notebook 01 left, as the panels need it.

    ``table`` is `curated.parquet`, ``measurements`` every value before merging, ``structures`` the texts of
    `structure_to_json` by structure id.
    """

    table: pd.DataFrame
    measurements: pd.DataFrame
    structures: dict[str, str]

    def row(self, compound: str) -> pd.Series:
        """Return the curated row of an id. Raises `DataError` for an unknown one."""
        found = self.table[self.table[Entry.ID] == compound]
        if found.empty:
            raise DataError(f"there is no compound {compound!r} among the {len(self.table)} curated rows")
        return found.iloc[0]


def load_dataset(run: RunFolder) -> Dataset:
    """Read what notebook 01 left in the run folder. Raises `RunError` if it did not run there."""
    structures = run.read_table(NOTEBOOK, "structures")
    return Dataset(
        table=run.read_table(NOTEBOOK, "curated"),
        measurements=run.read_table(NOTEBOOK, "measurements"),
        structures=structures.set_index(StructureTable.STRUCTURE_ID)[StructureTable.STRUCTURE_JSON].to_dict(),
    )


def card(data: Dataset, compound: str) -> str:
    """Return the compound as HTML: facts, findings, measurements of every source, near-duplicates."""
    row = data.row(compound)
    findings = _findings(row)
    measured = data.measurements[data.measurements["merged_into"] == compound]
    parts = [
        f"<h3>{escape(row[Entry.FORMULA])} <small>({escape(compound)})</small></h3>",
        f"<p>{'; '.join(_facts(row))}.</p>",
        f"<p><strong>Check:</strong> {escape('; '.join(findings))}.</p>" if findings else "",
        "<h4>Measured values of every source</h4>",
        html_table(_values(measured.sort_values([Entry.SOURCE, Entry.LOG10_SIGMA])), links=True),
    ]
    others = near_duplicates(data.table, compound)
    if len(others):
        heading = (
            f"Near-duplicates: the {min(len(others), _N_SIMILAR)} nearest in composition of {len(others)}"
        )
        table = _values(others.head(_N_SIMILAR))
        table.insert(2, "L1 distance", others["distance_l1"].head(_N_SIMILAR).map("{:.3f}".format))
        parts += [f"<h4>{heading}</h4>", html_table(table, links=True)]
    return "".join(parts)


def compound_structure(data: Dataset, compound: str) -> go.Figure | None:
    """Return the 3D figure of a compound, or None where no source gives its structure."""
    row = data.row(compound)
    similar = ", structure of a similar material" if row[Entry.CLOSE_MATCH] else ""
    text = data.structures.get(row[Entry.STRUCTURE_ID])
    return drawn_structure(text, title=f"{row[Entry.FORMULA]}{similar}")


def near_duplicates(table: pd.DataFrame, compound: str) -> pd.DataFrame:
    """Return the other rows of the compound's group of near-duplicates, the nearest composition first.

    Rows of a group are linked by steps of at most 2 % in composition (`Curated.DUPLICATE_GROUP`), so its ends
    may lie further apart; ``distance_l1`` is the L1 distance of mole fractions, 0 to 2.
    """
    own = table[table[Entry.ID] == compound]
    group = table[table[Curated.DUPLICATE_GROUP] == own[Curated.DUPLICATE_GROUP].iloc[0]]
    others = group[group[Entry.ID] != compound]
    if others.empty:
        return others.assign(distance_l1=pd.Series(dtype=float))
    fractions = element_fractions([*own[Entry.COMPOSITION], *others[Entry.COMPOSITION]]).to_numpy()
    return others.assign(distance_l1=l1_distances(fractions[:1], fractions[1:])[0]).sort_values("distance_l1")


def doi_link(doi: object) -> str:
    """Return links to one DOI or several ("10.1/a|10.1/b") as HTML, a dash where there is none."""
    names = [] if pd.isna(doi) else [escape(d.strip(), quote=True) for d in str(doi).split("|")]
    links = [f'<a href="https://doi.org/{d}" target="_blank">{d}</a>' for d in names if d]
    return ", ".join(links) or _MISSING


def _facts(row: pd.Series) -> list[str]:
    bound = "at most " if row[Entry.CENSORED] else ""
    sigma = f"σ {bound}{10 ** row[Entry.LOG10_SIGMA]:.1e} S/cm (log10 {row[Entry.LOG10_SIGMA]:.2f})"
    facts = [sigma, f"class {row[Curated.CONDUCTIVITY_CLASS]}", f"family {row[Curated.FAMILY]}"]
    if pd.notna(row[Entry.SPACE_GROUP_SYMBOL]):
        facts.append(f"space group {row[Entry.SPACE_GROUP_SYMBOL]}")
    if pd.notna(row[Curated.DISORDER_CLASS]):
        facts.append(str(row[Curated.DISORDER_CLASS]))
    if pd.notna(row[Curated.LABEL_STD]):
        n = row[Curated.N_MEASUREMENTS]
        facts.append(f"{n} measurements, standard deviation {row[Curated.LABEL_STD]:.2f}")
    return [escape(f) for f in facts]


def _findings(row: pd.Series) -> list[str]:
    flags = [f for f in str(row[Curated.STRUCTURE_FLAGS] or "").split(";") if f and f != "nan"]
    note = row[Entry.NOTE] if pd.notna(row[Entry.NOTE]) else ""
    return [FINDINGS.get(f, f) for f in flags] + ([f"note of the source: {note}"] if note else [])


def _values(rows: pd.DataFrame) -> pd.DataFrame:
    """Return measurements in words; every text is escaped."""
    bound = rows[Entry.CENSORED].map({True: "≤ ", False: ""})
    temperature = rows[Entry.TEMPERATURE_C].map(lambda t: "not stated" if pd.isna(t) else f"{t:g}")
    return pd.DataFrame(
        {
            "id": rows[Entry.ID].map(escape),
            "formula": rows[Entry.FORMULA].map(escape),
            "log10(σ / S cm⁻¹)": bound + rows[Entry.LOG10_SIGMA].map("{:.2f}".format),
            "T, °C": temperature,
            "kind": rows[Entry.CONDUCTIVITY_KIND].fillna(_MISSING).map(escape),
            "space group": rows[Entry.SPACE_GROUP_SYMBOL].fillna(_MISSING).map(escape),
            "DOI": rows[Entry.DOI].map(doi_link),
        }
    )
