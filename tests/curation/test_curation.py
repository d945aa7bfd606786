"""Merging the sources: what is kept, merged and dropped, and that nothing is lost."""

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.columns import Audit, Curated, Entry
from sselib.curation.inputs import load_sources
from sselib.curation.merging import audit_counts, curate
from sselib.errors import DataError, ParameterError
from sselib.materials.composition import canonical
from sselib.materials.structures import structure_record
from sselib.schemas import AUDIT, CURATED, MEASUREMENTS, validate
from sselib.sources.table import SourceTable, entries_frame, reject, rejects_frame, structures_frame


def source(name: str, *rows: dict, rejects: tuple = (), structures: tuple = ()) -> SourceTable:
    """Return a source; each row gives at least formula and log10_sigma, numbered from 1."""
    records = [
        {
            Entry.SOURCE: name,
            Entry.SOURCE_ID: str(k),
            Entry.ID: f"{name}:{k}",
            Entry.COMPOSITION: canonical(row[Entry.FORMULA]),
            **row,
        }
        for k, row in enumerate(rows, start=1)
    ]
    return SourceTable(
        name=name,
        entries=entries_frame(records),
        rejects=rejects_frame(list(rejects)),
        structures=structures_frame(list(structures)),
        files=(),
    )


def row(formula: str, log10_sigma: float, **more: object) -> dict:
    return {Entry.FORMULA: formula, Entry.LOG10_SIGMA: log10_sigma, **more}


def outcome(curation, source_id: str, name: str = "liion") -> tuple:
    audit = curation.audit
    found = audit[(audit[Audit.SOURCE] == name) & (audit[Audit.SOURCE_ID] == source_id)]
    assert len(found) == 1
    into = found.iloc[0][Audit.INTO]
    return found.iloc[0][Audit.ACTION], None if pd.isna(into) else into


def curated_row(curation, row_id: str) -> pd.Series:
    return curation.curated.set_index(Entry.ID).loc[row_id]


OFFICIAL = source(
    "obelix",
    row("Li6PS5Cl", -2.5, space_group_number=216, official_split="train", same_as="liion:77", doi="10.1/a"),
    row("Li6PS5Cl", -2.9, space_group_number=216, official_split="test"),
    row("Li3PS4", -6.0, space_group_number=31, official_split="train", doi="10.1/c"),
    row("Li3PS4", -3.8, space_group_number=62, official_split="train", doi="10.1/d"),
    row("Li7P3S11", -2.0, space_group_number=2, official_split="train", censored=True),
)


def test_official_rows_stay_each_on_its_own():
    curation = curate([OFFICIAL])
    assert (curation.audit[Audit.ACTION] == "kept").all()
    assert curation.curated[Entry.OFFICIAL_SPLIT].tolist() == ["train", "test", "train", "train", "train"]
    assert curation.curated[Entry.LOG10_SIGMA].tolist() == [-2.5, -2.9, -6.0, -3.8, -2.0]
    assert curated_row(curation, "obelix:5")[Curated.CONDUCTIVITY_CLASS] == "undecided"
    assert curated_row(curation, "obelix:5")[Curated.SUPERIONIC] is pd.NA


def test_later_rows_are_merged_for_a_stated_reason():
    liion = source(
        "liion",
        row("Li12P2S10Cl2", -2.5, id="liion:77"),
        row("Li6PS5Cl", -3.1, doi="10.1/A"),
        row("Li3YCl6", -3.3),
        row("Li3PS4", -4.0, doi="10.1/d"),
        row("Li3PS4", -4.0),
    )
    curation = curate([liion, OFFICIAL])  # the order given does not matter
    assert outcome(curation, "1") == ("merged", "obelix:1")  # named by OBELiX
    assert outcome(curation, "2") == ("merged", "obelix:1")  # the same publication, in other letters
    assert outcome(curation, "3") == ("kept", None)
    assert outcome(curation, "4") == ("merged", "obelix:4")  # the publication tells the polymorph
    assert outcome(curation, "5") == ("dropped", None)  # an unknown polymorph
    first = curated_row(curation, "obelix:1")
    assert first[Entry.LOG10_SIGMA] == -2.5 and first[Curated.MERGED_IDS] == "liion:77 liion:2"
    assert first[Curated.N_MEASUREMENTS] == 2  # liion:77 is the same measurement, not another
    assert first[Curated.LABEL_STD] == pytest.approx(pd.Series([-2.5, -3.1]).std())
    measured = curation.measurements.set_index(Entry.ID)["merged_into"]
    assert len(measured) == 10 and pd.isna(measured["liion:5"]) and measured["liion:3"] == "liion:3"


def test_a_different_space_group_is_a_different_material():
    own = source(
        "mine", row("Li6PS5Cl", -4.0, space_group_number=1), row("Li6PS5Cl", -4.1, space_group_number=216)
    )
    curation = curate([OFFICIAL, own])
    assert outcome(curation, "1", "mine") == ("kept", None)
    assert outcome(curation, "2", "mine") == ("merged", "obelix:1")


def test_own_data_go_before_the_public_sets_and_lose_no_polymorph():
    reference = source(
        "reference",
        row("Li3PS4", -6.6, space_group_number=31),
        row("Li3N", -3.2),
        row("Li3YCl6", -3.3, space_group_number=164),
    )
    curation = curate([reference, source("mine", row("Li3PS4", -4.0), row("Li3N", -3.0))])
    assert curation.curated[Entry.ID].tolist() == ["mine:1", "mine:2", "reference:1", "reference:3"]
    assert outcome(curation, "2", "reference") == ("merged", "mine:2")


def test_a_glass_is_not_its_crystal():
    liion = source(
        "liion",
        row("(Li2S)70(P2S5)30", -4.0, family_raw="Glass"),
        row("(Li2S)70(P2S5)30", -2.5, family_raw="Glass-Ceramic"),
    )
    curation = curate([OFFICIAL, liion])
    assert outcome(curation, "1") == ("kept", None) and outcome(curation, "2") == ("merged", "obelix:5")


def test_repeats_in_a_source_give_their_median():
    liion = source(
        "liion",
        row("Li3N", -3.0, doi="a"),
        row("Li3N", -5.0, doi="b"),
        row("Li6N2", -3.6, doi="c"),
        row("Li3N", -3.0, doi="a"),
        row("Li3N", -9.0, doi="d", censored=True),
    )
    curation = curate([liion])
    assert audit_counts(curation.audit).iloc[0].tolist() == ["liion", 5, 1, 4, 0, 0]
    kept = curation.curated.iloc[0]
    assert kept[Entry.ID] == "liion:3" and kept[Entry.LOG10_SIGMA] == -3.6 and not kept[Entry.CENSORED]
    assert kept[Curated.N_MEASUREMENTS] == 4  # liion:4 repeats liion:1


def test_of_bounds_alone_the_lowest_counts():
    liion = source("liion", row("Li3N", -8.0, censored=True), row("Li3N", -9.0, censored=True))
    kept = curate([liion]).curated.iloc[0]
    assert kept[Entry.CENSORED] and kept[Entry.LOG10_SIGMA] == -9.0


def test_temperature_window_and_lithium():
    rows = [row("Li3N", -3.0, temperature_c=t) for t in (19.9, 20.0, 34.0, 34.1, None)]
    curation = curate([source("liion", *rows, row("Na3N", -3.0))])
    actions = curation.audit.set_index(Audit.SOURCE_ID)[Audit.ACTION]
    assert actions[["1", "4", "6"]].tolist() == ["dropped"] * 3
    assert sorted(actions[["2", "3", "5"]]) == ["kept", "merged", "merged"]
    assert len(curation.measurements) == 3
    wider = curate([source("liion", *rows)], temperature_min_c=0, temperature_max_c=100)
    assert (wider.audit[Audit.ACTION] != "dropped").all()


def test_a_row_with_a_structure_represents_its_repeats():
    structure = Structure(Lattice.cubic(5.0), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    record = structure_record(structure, structure_id="mine:2", source="mine", text="x", origin="2.cif")
    own = source(
        "mine",
        row("LiCl", -8.0),
        row("LiCl", -6.0, structure_id="mine:2"),
        row("LiCl", -7.9),
        structures=(record,),
    )
    curation = curate([own])
    kept = curation.curated.iloc[0]
    assert kept[Entry.ID] == "mine:2" and kept[Entry.LOG10_SIGMA] == -7.9 and len(curation.structures) == 1
    assert (kept[Curated.DISORDER_CLASS], kept[Curated.STRUCTURE_FLAGS]) == ("No disorder", "")


def test_wrong_structures_are_flagged():
    structure = Structure(Lattice.cubic(5.0), [{"Na": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    record = structure_record(structure, structure_id="mine:1", source="mine", text="x", origin="1.cif")
    own = source("mine", row("LiCl", -8.0, structure_id="mine:1"), structures=(record,))
    kept = curate([own]).curated.iloc[0]
    assert kept[Curated.STRUCTURE_FLAGS] == "no_li;composition_mismatch"
    assert kept[Curated.DISORDER_CLASS] == "Other atom disorder"


def test_every_input_has_an_outcome_and_tables_fit_their_schemas():
    unread = reject("liion", source_id="9", reason="formula '?' cannot be read", text="?")
    liion = source("liion", row("Li3N", -3.0), row("Li3N", -3.0, temperature_c=300), rejects=(unread,))
    curation = curate([OFFICIAL, liion])
    counts = audit_counts(curation.audit).set_index("source")
    assert counts.loc["liion"].tolist() == [3, 1, 0, 1, 1]
    assert counts.loc["obelix"].tolist() == [5, 5, 0, 0, 0]
    assert (counts.drop(columns="input").sum(axis=1) == counts["input"]).all()
    for name, schema in (("curated", CURATED), ("measurements", MEASUREMENTS), ("audit", AUDIT)):
        validate(getattr(curation, name), schema, what=name)


def test_impossible_inputs_are_refused():
    with pytest.raises(DataError, match="no row is left"):
        curate([source("liion", row("Li3N", -3.0, temperature_c=300))])
    with pytest.raises(DataError, match="each name once"):
        curate([OFFICIAL, OFFICIAL])
    with pytest.raises(DataError, match="at least one"):
        curate([])
    with pytest.raises(ParameterError, match=r"'obelex'.*Did you mean 'obelix'"):
        load_sources(["obelex"])
    with pytest.raises(ParameterError, match="'maybe'"):
        load_sources(["reference"], if_unavailable="maybe")


def test_without_public_data_the_run_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("SSE_DATA_MIRROR", raising=False)
    monkeypatch.setenv("SSE_OFFLINE", "1")
    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    inputs = load_sources(["obelix", "liion", "reference"])
    assert inputs.mode == "embedded" and set(inputs.skipped) == {"obelix", "liion"}
    assert "OBELiX" in inputs.message and [t.name for t in inputs.tables] == ["reference"]
    assert {record["origin"] for record in inputs.data_mode()["sources"]} == {"embedded"}
    with pytest.raises(DataError):
        load_sources(["obelix"], if_unavailable="stop")


@pytest.mark.mirror
@pytest.mark.slow
def test_public_sources(mirror):
    inputs = load_sources(["obelix", "liion", "reference"])
    assert inputs.mode == "real" and not inputs.skipped
    curation = curate(inputs.tables)
    counts = audit_counts(curation.audit).set_index("source")
    assert counts.loc["obelix"].tolist() == [599, 599, 0, 0, 0] and counts.loc["liion", "input"] == 820
    assert (counts.drop(columns="input").sum(axis=1) == counts["input"]).all()
    official = curation.curated[Entry.OFFICIAL_SPLIT].value_counts()
    assert (official["train"], official["test"]) == (478, 121)
    structured = curation.curated.query("source == 'obelix'").dropna(subset=[Entry.STRUCTURE_ID])
    assert len(structured) == 321 and (structured[Curated.DISORDER_CLASS] != "No disorder").sum() == 249
    assert structured[Curated.SUPERIONIC].sum() == 113
    flags = structured[Curated.STRUCTURE_FLAGS]
    assert flags.str.contains("no_li").sum() == 7 and flags.str.contains("composition_mismatch").sum() == 10
