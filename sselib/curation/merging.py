"""Merging the sources into one labelled table, with an audit of what happened to each input row.

The rules, in their order:

1. A row that cannot be read is rejected by its source, with the reason.
2. A row without lithium, or measured outside the temperature window, is dropped. A missing temperature
   means room temperature and is accepted.
3. Every row that carries OBELiX's official split is kept as its own row, so that the split stays whole.
4. A row of a later source is merged into a kept row of an earlier one if either names the other as the
   same measurement, or if the composition is the same (within a tolerance), its space group is the
   same or not stated, and not just one of them is a glass. The kept row keeps its label.
5. If the kept rows of that composition have several space groups and the new row states none (nor
   shares its publication with one of them), it belongs to an unknown polymorph: it is dropped, because
   merging could put a value on the wrong polymorph and keeping would give one composition a label that
   no structure belongs to.
6. Repeats inside a source become one row with the median of the measured values.

The order of precedence does not depend on the order given: OBELiX, the user's own data, then sources
that state space groups before those that do not, the recent electrolytes last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sselib.columns import Audit, Curated, Entry, Reject, StructureTable
from sselib.errors import DataError
from sselib.materials.composition import (
    chemical_system,
    element_fractions,
    parse_formula,
    rows_within,
)
from sselib.materials.conductivity import conductivity_class, is_superionic
from sselib.materials.disorder import disorder_class
from sselib.materials.families import Family, normalise_family
from sselib.materials.structures import quality_findings, structure_from_json
from sselib.sources import RESERVED_NAMES, TESTS
from sselib.sources.table import SourceTable
from sselib.validation.clusters import Clusters, composition_clusters, duplicate_groups, nearest_rows

MERGE_TOLERANCE_L1 = 0.002  # rounding of formulas; the finest composition steps in OBELiX are above 0.005
DUPLICATE_TOLERANCE_L1 = 0.02
COPY_TOLERANCE = 0.02  # log units; same publication and this close: one measurement written down twice
MERGED_INTO = "merged_into"
UNKNOWN_POLYMORPH = "unknown polymorph: its composition is known in several space groups"
ONLY_MEASUREMENT = "only measurement of its composition"
KEPT, MERGED, DROPPED, REJECTED = "kept", "merged", "dropped", "rejected"


@dataclass(frozen=True)
class Curation:
    """What curation returns.

    ``curated``: `Entry` and `Curated` columns, one row per labelled material. ``measurements``: `Entry`
    columns and ``merged_into`` (the id of the curated row it counts for; missing for an unknown
    polymorph), one row per measurement inside the temperature window. ``structures``: those that a
    curated row refers to. ``audit``: one row per input. ``rejects``: inputs that could not be read.
    """

    curated: pd.DataFrame
    measurements: pd.DataFrame
    structures: pd.DataFrame
    audit: pd.DataFrame
    rejects: pd.DataFrame


@dataclass
class _Ledger:
    """What has been decided so far: per row id the action, reason and the row it was merged into."""

    fate: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)
    copies: set[str] = field(default_factory=set)  # merged rows that repeat a measurement already counted

    def record(self, row_id: str, action: str, reason: str, into: str | None = None) -> None:
        self.fate[row_id] = (action, reason, into)

    def open_ids(self, ids: Sequence[str]) -> list[str]:
        """Return those ids that nothing was decided for yet."""
        return [i for i in ids if i not in self.fate]

    def kept(self) -> list[str]:
        return [i for i, (action, _, _) in self.fate.items() if action == KEPT]


def curate(
    tables: Sequence[SourceTable],
    *,
    temperature_min_c: float = 20.0,
    temperature_max_c: float = 34.0,
    merge_tolerance: float = MERGE_TOLERANCE_L1,
    duplicate_tolerance: float = DUPLICATE_TOLERANCE_L1,
    seed: int = 0,
) -> Curation:
    """Merge sources into one labelled table (the rules stand at the top of this module).

    Temperatures in deg C, both ends included; tolerances are L1 distances of mole fractions; ``seed``
    is that of the composition map. Raises `DataError` without tables, if two share a name or an id, or
    if nothing is left.
    """
    ordered = _by_precedence(tables)
    entries = pd.concat([t.entries for t in ordered], ignore_index=True)
    if entries[Entry.ID].duplicated().any():
        raise DataError(
            f"id {entries.loc[entries[Entry.ID].duplicated(), Entry.ID].iloc[0]!r} occurs twice: "
            "expected ids '<source>:<source_id>', and each source once"
        )
    ledger, indexed = _Ledger(), entries.set_index(Entry.ID, drop=False)
    _drop_out_of_scope(indexed, ledger, low=temperature_min_c, high=temperature_max_c)
    for table in ordered:
        _merge_source(indexed, list(table.entries[Entry.ID]), ledger, tolerance=merge_tolerance)
    structures = pd.concat([t.structures for t in ordered], ignore_index=True)
    rejects = pd.concat([t.rejects for t in ordered], ignore_index=True)
    curated = _labelled(indexed, ledger)
    if curated.empty:
        raise DataError(
            f"no row is left of {len(entries)}: expected rows with lithium measured between "
            f"{temperature_min_c:g} and {temperature_max_c:g} deg C; widen that window"
        )
    structures = structures[structures[StructureTable.STRUCTURE_ID].isin(curated[Entry.STRUCTURE_ID])]
    curated = _describe(curated, structures, duplicate_tolerance=duplicate_tolerance, seed=seed)
    return Curation(
        curated=curated,
        measurements=_measurements(entries, ledger),
        structures=structures.reset_index(drop=True),
        audit=_audit(entries, rejects, ledger),
        rejects=rejects,
    )


def audit_counts(audit: pd.DataFrame) -> pd.DataFrame:
    """Return one row per source: input, kept, merged, dropped, rejected; the last four add up to input."""
    actions = [KEPT, MERGED, DROPPED, REJECTED]
    counts = pd.crosstab(audit[Audit.SOURCE], audit[Audit.ACTION]).reindex(columns=actions, fill_value=0)
    counts.insert(0, "input", audit.groupby(Audit.SOURCE).size())
    counts.columns.name = None
    return counts.reset_index()


def _by_precedence(tables: Sequence[SourceTable]) -> list[SourceTable]:
    """Return the tables: official split, the user's, those that state space groups, the rest, recent last."""
    names = [t.name for t in tables]
    if not names or len(set(names)) < len(names):
        raise DataError(f"sources {', '.join(names) or '(none)'}: expected at least one, and each name once")

    def rank(table: SourceTable) -> tuple[bool, bool, bool, bool]:
        """Return a key that sorts the source to be believed first: official split, own, with space groups."""
        official = table.entries[Entry.OFFICIAL_SPLIT].notna().any()
        public = table.name in RESERVED_NAMES
        stated = table.entries[Entry.SPACE_GROUP_NUMBER].notna().mean() > 0.5
        return not official, public, not stated, table.name in TESTS

    return sorted(tables, key=rank)


def _drop_out_of_scope(entries: pd.DataFrame, ledger: _Ledger, *, low: float, high: float) -> None:
    """Drop rows without lithium and rows outside the temperature window, except official-split rows."""
    for row in entries[entries[Entry.OFFICIAL_SPLIT].isna()].to_dict("records"):
        temperature = row[Entry.TEMPERATURE_C]
        if "Li" not in chemical_system(row[Entry.COMPOSITION]).split("-"):
            ledger.record(row[Entry.ID], DROPPED, "no lithium in the formula")
        elif not pd.isna(temperature) and not low <= temperature <= high:
            ledger.record(row[Entry.ID], DROPPED, f"temperature outside {low:g} to {high:g} deg C")


def _merge_source(entries: pd.DataFrame, ids: Sequence[str], ledger: _Ledger, *, tolerance: float) -> None:
    """Decide on the open rows of one source: keep, merge into earlier sources, merge repeats."""
    earlier = ledger.kept()
    rows = entries.loc[ledger.open_ids(ids)]
    official = rows[Entry.OFFICIAL_SPLIT].notna()
    for row_id in rows.index[official]:
        ledger.record(row_id, KEPT, "official split: every row is kept")
    _merge_into_earlier(rows[~official], entries.loc[earlier], ledger, tolerance=tolerance)
    _merge_repeats(entries.loc[ledger.open_ids(ids)], ledger, tolerance=tolerance)


def _merge_into_earlier(rows: pd.DataFrame, kept: pd.DataFrame, ledger: _Ledger, *, tolerance: float) -> None:
    """Merge rows into kept rows of earlier sources, or drop them as unknown polymorphs."""
    if rows.empty or kept.empty:
        return
    neighbours = rows_within(_fractions(rows), _fractions(kept), tolerance)
    named = {same: row_id for row_id, text in kept[Entry.SAME_AS].dropna().items() for same in text.split()}
    records = kept.to_dict("records")
    for row, near in zip(rows.to_dict("records"), neighbours, strict=True):
        same = [i for i in str(row[Entry.SAME_AS]).split() if i in kept.index] or [named.get(row[Entry.ID])]
        if same[0] is not None:
            ledger.record(row[Entry.ID], MERGED, "the same measurement, named by the source", same[0])
            ledger.copies.add(row[Entry.ID])
            continue
        _merge_by_composition(row, [records[k] for k in near if _compatible(row, records[k])], ledger)


def _merge_by_composition(row: Mapping, candidates: list[Mapping], ledger: _Ledger) -> None:
    """Merge one row into the candidate it belongs to; drop it if that cannot be told."""
    published = [c for c in candidates if _same_doi(row, c)]
    if published:
        target = min(published, key=lambda c: abs(c[Entry.LOG10_SIGMA] - row[Entry.LOG10_SIGMA]))
        copied = abs(target[Entry.LOG10_SIGMA] - row[Entry.LOG10_SIGMA]) <= COPY_TOLERANCE
        reason = "same composition, publication and value" if copied else "same composition and publication"
        ledger.record(row[Entry.ID], MERGED, reason, target[Entry.ID])
        ledger.copies.update([row[Entry.ID]] if copied else [])
    elif len({c[Entry.SPACE_GROUP_NUMBER] for c in candidates} - {pd.NA}) > 1:
        ledger.record(row[Entry.ID], DROPPED, UNKNOWN_POLYMORPH)
    elif candidates:
        ledger.record(
            row[Entry.ID],
            MERGED,
            "same composition; space group the same or not stated",
            candidates[0][Entry.ID],
        )


def _merge_repeats(rows: pd.DataFrame, ledger: _Ledger, *, tolerance: float) -> None:
    """Keep one row per composition and polymorph of one source; the others are merged into it."""
    if rows.empty:
        return
    composition = duplicate_groups(_fractions(rows), tolerance=tolerance)
    glass = [_is_glass(row) for row in rows.to_dict("records")]
    codes = pd.factorize(2 * composition + np.array(glass, int))[0]
    for members in np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]):
        if len(members) == 1:  # most rows: without a table of their own
            ledger.record(rows.index[members[0]], KEPT, ONLY_MEASUREMENT)
            continue
        group = rows.iloc[members]
        space_groups = group[Entry.SPACE_GROUP_NUMBER]
        if len(space_groups.dropna().unique()) > 1:
            for row_id in group.index[space_groups.isna()]:
                ledger.record(row_id, DROPPED, UNKNOWN_POLYMORPH)
            for _, polymorph in group.groupby(Entry.SPACE_GROUP_NUMBER, sort=False):
                _keep_representative(polymorph, ledger)
        else:
            _keep_representative(group, ledger)


def _keep_representative(group: pd.DataFrame, ledger: _Ledger) -> None:
    """Keep the measurement nearest to the median of the group, merge the others into it.

    Measured values go before bounds, and rows with a structure before rows without.
    """
    if len(group) == 1:
        ledger.record(group.index[0], KEPT, ONLY_MEASUREMENT)
        return
    unique = (
        ~group.assign(doi=_plain_doi(group), value=group[Entry.LOG10_SIGMA].round(2))
        .duplicated(["doi", "value", Entry.CENSORED])
        .to_numpy()
    )
    ledger.copies.update(group.index[~unique])
    distinct = group[unique]
    exact = distinct[~distinct[Entry.CENSORED]]
    chosen = exact if len(exact) else distinct
    built = chosen[chosen[Entry.STRUCTURE_ID].notna()]
    distance = (chosen[Entry.LOG10_SIGMA] - chosen[Entry.LOG10_SIGMA].median()).abs()
    nearest = distance.loc[built.index if len(built) else chosen.index].idxmin()
    ledger.record(nearest, KEPT, f"label is the median of repeats in the source ({len(chosen)} values)")
    for row_id in group.index.drop(nearest):
        ledger.record(row_id, MERGED, "repeat in the source; the label is the median", nearest)


def _labelled(entries: pd.DataFrame, ledger: _Ledger) -> pd.DataFrame:
    """Return the kept rows with their label, number of measurements, spread and merged ids."""
    kept = entries.loc[ledger.kept()].copy()
    members: dict[str, list[str]] = {row_id: [] for row_id in kept.index}
    for row_id, (action, _, into) in ledger.fate.items():
        if action == MERGED:
            members[into].append(row_id)
    labels = {
        row_id: _label(entries.loc[[i for i in (row_id, *merged) if i not in ledger.copies]])
        for row_id, merged in members.items()
        if merged
    }
    rows = [labels.get(row_id, (value, 1, np.nan)) for row_id, value in kept[Entry.LOG10_SIGMA].items()]
    columns = [Entry.LOG10_SIGMA, Curated.N_MEASUREMENTS, Curated.LABEL_STD]
    kept[columns] = pd.DataFrame(rows, columns=columns, index=kept.index)
    return kept.assign(**{Curated.MERGED_IDS: [" ".join(m) for m in members.values()]}).reset_index(drop=True)


def _label(counted: pd.DataFrame) -> tuple[float, int, float]:
    """Return the label, the number of measurements and their standard deviation.

    ``counted`` holds the kept row first. The label is the median of the measured values of its own
    source, or the lowest bound if all of those are bounds.
    """
    exact = counted[~counted[Entry.CENSORED]]
    source = counted[Entry.SOURCE].iloc[0]
    own = exact.loc[exact[Entry.SOURCE] == source, Entry.LOG10_SIGMA]
    bounds = counted.loc[counted[Entry.SOURCE] == source, Entry.LOG10_SIGMA]
    return own.median() if len(own) else bounds.min(), len(counted), exact[Entry.LOG10_SIGMA].std()


def _describe(
    curated: pd.DataFrame, structures: pd.DataFrame, *, duplicate_tolerance: float, seed: int
) -> pd.DataFrame:
    """Add every column of `Curated` that follows from one row's composition, label or structure."""
    labels = list(zip(curated[Entry.LOG10_SIGMA], curated[Entry.CENSORED], strict=True))
    clusters = _clusters(curated, seed=seed)
    described = curated.assign(
        **{
            Curated.FAMILY: [
                str(normalise_family(raw, c))
                for raw, c in zip(curated[Entry.FAMILY_RAW], curated[Entry.COMPOSITION], strict=True)
            ],
            Curated.CHEMICAL_SYSTEM: [chemical_system(c) for c in curated[Entry.COMPOSITION]],
            Curated.CONDUCTIVITY_CLASS: [conductivity_class(y, censored=bool(c)) for y, c in labels],
            Curated.SUPERIONIC: pd.array([is_superionic(y, censored=bool(c)) for y, c in labels], "boolean"),
            Curated.DUPLICATE_GROUP: duplicate_groups(_fractions(curated), tolerance=duplicate_tolerance),
            Curated.CLUSTER: clusters.labels.astype("int64"),
            Curated.MAP_X: clusters.coordinates[:, 0],
            Curated.MAP_Y: clusters.coordinates[:, 1],
            **_structure_columns(curated, structures),
        }
    )
    return described[[str(c) for c in (*Entry, *Curated)]]


def _clusters(curated: pd.DataFrame, *, seed: int) -> Clusters:
    """Return the clusters of the rows; recent electrolytes take the place of the nearest other row.

    So the clusters of the published data stay what they are, and no recent row trains a model for the
    cluster that it belongs to.
    """
    fractions, is_recent = _fractions(curated), curated[Entry.SOURCE].isin(TESTS).to_numpy()
    if not is_recent.any() or is_recent.all():
        return composition_clusters(fractions, seed=seed)
    found = composition_clusters(fractions[~is_recent], seed=seed)
    place = np.empty(len(curated), int)
    place[~is_recent] = np.arange((~is_recent).sum())
    place[is_recent] = nearest_rows(fractions[is_recent], fractions[~is_recent])
    return Clusters(found.labels[place], found.coordinates[place])


def _structure_columns(curated: pd.DataFrame, structures: pd.DataFrame) -> dict[str, list]:
    """Return the disorder class and the quality findings of each row's structure."""
    texts = structures.set_index(StructureTable.STRUCTURE_ID)[StructureTable.STRUCTURE_JSON].to_dict()
    rows: list[tuple[str | None, str]] = []
    for key, composition in zip(curated[Entry.STRUCTURE_ID], curated[Entry.COMPOSITION], strict=True):
        if key not in texts:
            rows.append((None, ""))
            continue
        structure = structure_from_json(texts[key])
        found = quality_findings(structure, expected=parse_formula(composition))
        rows.append((str(disorder_class(structure)), ";".join(found)))
    return {Curated.DISORDER_CLASS: [c for c, _ in rows], Curated.STRUCTURE_FLAGS: [f for _, f in rows]}


def _measurements(entries: pd.DataFrame, ledger: _Ledger) -> pd.DataFrame:
    """Return the measurements in the window with the id of the curated row they count for."""
    outside = ("no lithium", "temperature outside")
    inside = [not ledger.fate[i][1].startswith(outside) for i in entries[Entry.ID]]
    rows = entries[inside].reset_index(drop=True)
    target = {KEPT: lambda i: i, MERGED: lambda i: ledger.fate[i][2], DROPPED: lambda i: None}
    return rows.assign(**{MERGED_INTO: [target[ledger.fate[i][0]](i) for i in rows[Entry.ID]]})


def _audit(entries: pd.DataFrame, rejects: pd.DataFrame, ledger: _Ledger) -> pd.DataFrame:
    """Return one row per input; raises `DataError` if one is missing, which would be a defect here."""
    rows = [
        (source, source_id, *ledger.fate.get(row_id, (None, None, None)))
        for source, source_id, row_id in entries[[Entry.SOURCE, Entry.SOURCE_ID, Entry.ID]].itertuples(
            index=False
        )
    ]
    rows += [
        (source, source_id, REJECTED, reason, None)
        for source, source_id, reason in rejects[[Reject.SOURCE, Reject.SOURCE_ID, Reject.REASON]].itertuples(
            index=False
        )
    ]
    audit = pd.DataFrame(rows, columns=[str(c) for c in Audit])
    undecided = audit[audit[Audit.ACTION].isna()]
    if len(undecided) or len(audit) != len(entries) + len(rejects):
        raise DataError(
            f"{len(undecided)} input rows have no outcome and {len(audit)} audit rows stand for "
            f"{len(entries) + len(rejects)} inputs: a defect of curation, please report it"
        )
    return audit


def _fractions(rows: pd.DataFrame) -> np.ndarray:
    return element_fractions(list(rows[Entry.COMPOSITION])).to_numpy()


def _compatible(row: Mapping, other: Mapping) -> bool:
    """Return whether a row may be merged into the kept row ``other`` of the same composition.

    A row that states its space group is not merged into one that does not: it would be lost.
    """
    first, second = row[Entry.SPACE_GROUP_NUMBER], other[Entry.SPACE_GROUP_NUMBER]
    same_space_group = pd.isna(first) or (not pd.isna(second) and first == second)
    return bool(same_space_group) and _is_glass(row) == _is_glass(other)


def _is_glass(row: Mapping) -> bool:
    return normalise_family(row[Entry.FAMILY_RAW], row[Entry.COMPOSITION]) is Family.GLASS


def _same_doi(row: Mapping, other: Mapping) -> bool:
    """Return whether both DOIs are known and the same; upper and lower case make no difference."""
    dois = [r[Entry.DOI] for r in (row, other)]
    return not any(pd.isna(d) for d in dois) and len({str(d).strip().lower() for d in dois}) == 1


def _plain_doi(rows: pd.DataFrame) -> pd.Series:
    """Return the DOI in lower case; a missing one counts as different from all others."""
    doi = rows[Entry.DOI].astype("object").str.strip().str.lower()
    return doi.where(doi.notna(), rows[Entry.ID])
