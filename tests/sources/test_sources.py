"""Source readers: OBELiX and LiIon on the mirror, the user's own data, and the tables they share."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sselib.columns import Entry, Reject, StructureTable
from sselib.errors import ConductivityError, DataError, ParameterError, SchemaError
from sselib.materials.composition import canonical, parse_formula
from sselib.materials.structures import structure_from_json
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources import liion, obelix, own
from sselib.sources.liion import _require_agreement
from sselib.sources.table import (
    SourceTable,
    clean_doi,
    entries_frame,
    read_number,
    rejects_frame,
    structures_frame,
)

CIF = """data_x
_cell_length_a 5.13
_cell_length_b 5.13
_cell_length_c 5.13
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
ATOMS = "Li1 Li 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1\n"
ENTRY = {
    "id": "x:1",
    "source": "x",
    "source_id": "1",
    "formula": "LiCl",
    "composition": "Cl0.5 Li0.5",
    "log10_sigma": -3.0,
}


def _table(folder: Path, text: str, *, name: str = "own.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def _load(table: str, *, sigma_unit: str = "S/cm", cif_folder: str = "", **column_map: str) -> SourceTable:
    return own.load(table, name="lab", column_map=column_map, sigma_unit=sigma_unit, cif_folder=cif_folder)


# --- tables ---------------------------------------------------------------------------------------


def test_frames_have_every_column_even_when_empty() -> None:
    assert list(entries_frame([])) == list(Entry) and list(rejects_frame([])) == list(Reject)
    assert list(structures_frame([])) == list(StructureTable)
    for frame, schema in (
        (entries_frame([]), ENTRIES),
        (rejects_frame([]), REJECTS),
        (structures_frame([]), STRUCTURES),
    ):
        validate(frame, schema, what="empty")


def test_missing_values_and_types() -> None:
    row = entries_frame([{**ENTRY, "doi": float("nan"), "space_group_number": 225.0}]).iloc[0]
    assert row["doi"] is None and row["space_group_number"] == 225 and np.isnan(row["temperature_c"])
    assert row["censored"] is np.False_ and row["conductivity_kind"] == "unknown"


def test_entries_keep_their_schema_through_parquet(tmp_path: Path) -> None:
    frame = entries_frame([ENTRY, {**ENTRY, "id": "x:2", "doi": "10.1000/x", "space_group_number": 1}])
    frame.to_parquet(tmp_path / "e.parquet")
    again = validate(pd.read_parquet(tmp_path / "e.parquet"), ENTRIES, what="e.parquet")
    assert again["space_group_number"].dtype == "Int64" and again["doi"].isna().tolist() == [True, False]


def test_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(SchemaError, match=r"'log10_sigm' is no column.*Did you mean 'log10_sigma'"):
        entries_frame([{"log10_sigm": 1.0}])


def test_reject_text_is_shortened() -> None:
    assert len(rejects_frame([{"source": "x", "reason": "r", "text": "a" * 500}])["text"].item()) == 200


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"log10_sigma": [7.0, -3.0]},
            r"column 'log10_sigma', row 0: found 7\.0, expected a value of at most 1",
        ),
        ({"id": ["x:1", "x:1"]}, r"column 'id', row 0, 1: .*expected each value once"),
        (
            {"conductivity_kind": ["bulk", "bulky"]},
            r"row 1: found 'bulky', expected one of bulk, total, unknown",
        ),
        ({"formula": ["LiCl", None]}, r"column 'formula', row 1: found (None|nan), expected a value"),
        ({"doi": [5, None]}, r"column 'doi', row 0: found 5.*, expected text"),
        ({"log10_sigma": ["-3", "-4"]}, r"column 'log10_sigma' is of type .* expected dtype\('float64'\)"),
        ({"extra": [1, 2]}, r"column 'extra' is not expected here"),
    ],
)
def test_schema_errors_name_column_row_found_and_expected(change: dict, message: str) -> None:
    frame = entries_frame([ENTRY, {**ENTRY, "id": "x:2"}]).assign(**change)
    with pytest.raises(SchemaError, match=message) as caught:
        validate(frame, ENTRIES, what="curated.parquet")
    assert str(caught.value).startswith("curated.parquet does not fit its schema 'entries'")


def test_schema_names_a_missing_column() -> None:
    with pytest.raises(SchemaError, match="column 'doi' is missing; found id, source"):
        validate(entries_frame([ENTRY]).drop(columns="doi"), ENTRIES, what="t")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("10.1021/JA305709z", "10.1021/ja305709z"),
        (" https://doi.org/10.1021/ja305709z ", "10.1021/ja305709z"),
        ("doi:10.1021/ja305709z", "10.1021/ja305709z"),
        ("10.1039/a|10.1016/B", "10.1039/a|10.1016/b"),
        ("10.1039/a; 10.1016/b", "10.1039/a|10.1016/b"),
        (
            "10.1002/1521-3765(20020118)8:2<349::aid-chem349>3.0.co;2-5",
            "10.1002/1521-3765(20020118)8:2<349::aid-chem349>3.0.co;2-5",
        ),
        ("Journal De Physique 26 339-341. 1965", None),
        ("", None),
    ],
)
def test_dois_have_one_form(text: str, expected: str | None) -> None:
    assert clean_doi(text) == expected


def test_numbers_outside_their_range_name_the_column() -> None:
    assert read_number("25,5", column="t", low=0, high=100) == 25.5
    assert read_number(" ", column="t", low=0, high=100) is None
    for text in ("101", "warm", "nan", "inf"):
        with pytest.raises(DataError, match=r"column 't' holds .* expected a number from 0 to 100"):
            read_number(text, column="t", low=0, high=100)


# --- the user's own data ---------------------------------------------------------------------------


def test_own_table_with_a_column_map(tmp_path: Path) -> None:
    table = _table(
        tmp_path,
        "Nr,Material,sigma,T,DOI,Type,SG,a\n"
        "k1,Li6PS5Cl,1.9,25,10.1000/X,argyrodite,216,9.85\n"
        "k2,Li3PS4,<0.001,,,,Pnma,\n",
    )
    read = _load(
        table,
        sigma_unit="mS/cm",
        id="Nr",
        formula="Material",
        conductivity="sigma",
        temperature_c="T",
        doi="DOI",
        family="Type",
        space_group="SG",
        a_angstrom="a",
    )
    first, second = read.entries.to_dict("records")
    assert (first["id"], first["source"], first["family_raw"], first["doi"]) == (
        "lab:k1",
        "lab",
        "argyrodite",
        "10.1000/x",
    )
    assert first["log10_sigma"] == pytest.approx(np.log10(1.9e-3)) and not first["censored"]
    assert (first["space_group_symbol"], first["space_group_number"]) == ("F-43m", 216)
    assert first["a_angstrom"] == 9.85 and first["temperature_c"] == 25
    assert second["log10_sigma"] == pytest.approx(-6) and second["censored"]
    assert (second["space_group_symbol"], second["space_group_number"]) == ("Pnma", 62)
    assert read.rejects.empty and read.files[0].origin == "user" and len(read.files[0].sha256) == 64


@pytest.mark.parametrize(
    "text",
    [
        "formula,conductivity\nLiCl,1.2e-4\n",
        "formula;conductivity\nLiCl;1,2E-4\n",
        "formula\tconductivity\r\nLiCl\t1.2 x 10-4\r\n",
        '\ufeffformula,conductivity\n"LiCl","1,2e-4"\n\n',
    ],
)
def test_separators_decimal_commas_and_excel_marks(tmp_path: Path, text: str) -> None:
    entry = _load(_table(tmp_path, text)).entries.iloc[0]
    assert entry["log10_sigma"] == pytest.approx(np.log10(1.2e-4)) and entry["id"] == "lab:1"


def test_parquet_gives_the_same_as_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": [7, 8],
            "formula": ["LiCl", "Li3N"],
            "conductivity": [1e-9, 1.2e-3],
            "temperature_c": [25.0, None],
        }
    )
    frame.to_parquet(tmp_path / "own.parquet")
    frame.to_csv(tmp_path / "own.csv", index=False)
    pd.testing.assert_frame_equal(
        _load(str(tmp_path / "own.parquet")).entries, _load(str(tmp_path / "own.csv")).entries
    )


def test_bad_rows_are_rejected_and_the_rest_goes_on(tmp_path: Path) -> None:
    table = _table(
        tmp_path,
        "id,formula,conductivity,temperature_c,space_group\n"
        "a,LiCl,1e-6,25,225\nb,Li1-x,1e-6,25,\nc,LiBr,-1,25,\nd,LiI,1e-6,hot,\n"
        "a,LiF,1e-9,25,\n,LiF,1e-9,25,\ne,LiF,1e-9,25,999\n",
    )
    read = _load(table)
    assert read.entries["source_id"].tolist() == ["a"]
    assert read.rejects["row"].tolist() == [2, 3, 4, 5, 6, 7]
    parts = ["'Li1-x'", "not positive", "'hot'", "already that of row 1", "id is empty", "'999'"]
    assert all(part in reason for part, reason in zip(parts, read.rejects["reason"], strict=True))
    assert read.rejects["source_id"].tolist()[:4] == ["b", "c", "d", "a"]


def test_cifs_are_joined_by_id(tmp_path: Path) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    for name, atoms in (
        ("a", ATOMS),
        ("b", ""),
        ("c", ATOMS),
        ("stray", ATOMS),
        ("r", ATOMS),
        ("d", "Li1 Li 0 0 0 1.03\nCl1 Cl 0.5 0.5 0.5 1\n"),
    ):
        (cifs / f"{name}.cif").write_text(CIF + atoms)
    (cifs / "notes.txt").write_text("not a CIF")
    table = _table(
        tmp_path,
        "id,formula,conductivity\na,LiCl,1e-6\nb,LiCl,1e-7\nd,LiCl,1e-8\nn,LiF,1e-9\nr,?,1e-9\nc,LiCl,1e-9\n",
    )
    read = _load(table, cif_folder=str(cifs))
    assert read.entries.set_index("source_id")["structure_id"].dropna().to_dict() == {
        "a": "lab:a",
        "d": "lab:d",
        "c": "lab:c",
    }
    assert read.structures["structure_id"].tolist() == ["lab:a", "lab:c", "lab:d"]
    assert structure_from_json(read.structures["structure_json"][0]).composition.reduced_formula == "LiCl"
    assert read.rejects["source_id"].tolist() == ["r", "b", "r", "stray"]
    parts = ["formula '?'", "CIF b.cif cannot be read", "the row with the id 'r' was rejected", "id 'stray'"]
    assert all(part in reason for part, reason in zip(parts, read.rejects["reason"], strict=True))
    assert {file.name for file in read.files} == {"own.csv", *(file.name for file in cifs.glob("*.cif"))}


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("", DataError, "is empty"),
        ("formula,conductivity\n", DataError, "holds no rows"),
        (
            "formula,sig_rt\nLiCl,1\n",
            SchemaError,
            "no column 'conductivity' for .*: found formula, sig_rt.*--map 'COLUMN=conductivity'",
        ),
        ("formula,conductvity\nLiCl,1\n", SchemaError, "Did you mean 'conductvity'"),
        ("formula,conductivity\nLiCl,1,2E-4\n", DataError, "line 2 has 3 fields and the header 2"),
        ("formula,formula,conductivity\nLiCl,LiCl,1e-4\n", DataError, "names a column twice"),
        (
            "formula,conductivity\nLiCl,-4.2\nLiBr,-5\n",
            DataError,
            "none of the 2 rows .* give the unit 'log10'",
        ),
        ('formula,conductivity\n"LiCl,1e-4\n', DataError, "a quote in this line is not closed"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _load(_table(tmp_path, text))


def test_wrong_units_are_refused(tmp_path: Path) -> None:
    table = _table(tmp_path, "formula,conductivity\nLiCl,1e-4\nLiBr,2e-5\n")
    with pytest.raises(DataError, match="Is the unit right"):
        _load(table, sigma_unit="log10")
    with pytest.raises(ConductivityError, match=r"unit 'kS/m' is unknown"):
        _load(table, sigma_unit="kS/m")


def test_wrong_parameters_are_named(tmp_path: Path) -> None:
    table = _table(tmp_path, "formula,conductivity\nLiCl,1e-4\n")
    with pytest.raises(ParameterError, match=r"'formla', which is not known here.*Did you mean 'formula'"):
        _load(table, formla="formula")
    for name in ("", "obelix", "a:b", "a b"):
        with pytest.raises(ParameterError, match="cannot be used for your data"):
            own.load(table, name=name, column_map={})
    with pytest.raises(DataError, match="no table at"):
        _load(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="unknown kind"):
        _load(_table(tmp_path, "x", name="own.docx"))
    with pytest.raises(DataError, match="no folder of CIFs"):
        _load(table, cif_folder=str(tmp_path / "none"))
    with pytest.raises(DataError, match="cannot be read"):
        _load(_table(tmp_path, "PAR1 truncated", name="own.parquet"))


FORMULAS = st.sampled_from(["LiCl", "Li3N", "Li6PS5Cl", "Xx2", " ", "Li-1"])
SIGMAS = st.sampled_from(["1e-4", "<1e-8", "", "-3", "2,5e-6", "x"])


@settings(max_examples=30)
@given(st.lists(st.tuples(FORMULAS, SIGMAS), min_size=1, max_size=8))
def test_no_row_is_lost(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    frame = pd.DataFrame([("LiF", "1e-9"), *rows], columns=["formula", "conductivity"])
    path = tmp_path_factory.mktemp("own") / "own.csv"
    frame.to_csv(path, index=False)
    read = _load(str(path))
    used, unused = set(read.entries["source_id"].astype(int)), set(read.rejects["row"])
    assert used.isdisjoint(unused) and used | unused == set(range(1, len(rows) + 2))


# --- LiIon and OBELiX on the real files ----------------------------------------------------------


def test_liion_refuses_a_row_whose_logarithm_disagrees() -> None:
    _require_agreement(-4.0457, "-4.045757")
    with pytest.raises(DataError, match="target and log_target disagree"):
        _require_agreement(-4.0, "-3.0")


@pytest.mark.mirror
def test_liion(mirror: Path) -> None:
    read = liion.load()
    entries = read.entries
    assert len(entries) == 820 and read.rejects.empty and read.structures.empty
    assert entries["temperature_c"].between(15, 35).sum() == 465
    assert (entries["temperature_c"].min(), entries["temperature_c"].max()) == (5, 873)
    assert entries["id"].is_unique and {"liion:922", "liion:922-2"} <= set(entries["id"])
    assert entries["doi"].isna().sum() == 4 and entries["doi"].dropna().str.startswith("10.").all()
    assert not entries["censored"].any()


@pytest.mark.mirror
def test_liion_glass_notation_is_the_sum_of_its_parts(mirror: Path) -> None:
    entries = liion.load().entries.set_index("formula")
    glass = entries.loc['"((Li2S)0.6 (SiS2)0.4)95 (Li4SiO4)5"'].iloc[0]
    total = 0.6 * 95 * parse_formula("Li2S") + 0.4 * 95 * parse_formula("SiS2") + 5 * parse_formula("Li4SiO4")
    assert glass["composition"] == canonical(total) and glass["family_raw"] == "Glass"


@pytest.mark.mirror
def test_obelix(mirror: Path) -> None:
    read = obelix.load(structures=False)
    entries = read.entries
    assert len(entries) == 599 and read.rejects.empty and read.structures.empty
    assert entries["censored"].sum() == 37
    assert set(entries.loc[entries["censored"], "log10_sigma"].round(9)) == {-10.0, -8.0}
    assert entries["official_split"].value_counts().to_dict() == {"train": 478, "test": 121}
    assert entries.loc[entries["official_split"] == "test", "censored"].sum() == 8
    assert entries["conductivity_kind"].value_counts().to_dict() == {"unknown": 569, "total": 29, "bulk": 1}
    assert entries["close_match"].sum() == 61
    assert entries["structure_id"].notna().sum() == 321
    assert entries["space_group_number"].notna().all() and entries["a_angstrom"].notna().all()
    assert [f.origin for f in read.files] == ["mirror"] * 4


@pytest.mark.mirror
def test_obelix_compositions_contain_lithium_and_the_known_slip_is_corrected(mirror: Path) -> None:
    entries = obelix.load(structures=False).entries.set_index("source_id")
    assert entries["composition"].str.contains("Li0|Li1").all()
    assert entries.loc["r5y", "composition"] == canonical("Li2CdCl4")
    assert "read as Li16.0Cd8.0Cl32.0" in entries.loc["r5y", "note"]


@pytest.mark.mirror
def test_obelix_links_to_liion_hold(mirror: Path) -> None:
    first, second = obelix.load(structures=False).entries, liion.load().entries
    linked = first.merge(second, left_on="same_as", right_on="id", suffixes=("", "_liion"))
    assert len(linked) == first["same_as"].notna().sum() == 133
    assert linked["same_as"].is_unique and (linked["composition"] == linked["composition_liion"]).all()
    assert (linked["log10_sigma"] - linked["log10_sigma_liion"]).abs().max() <= 0.02
    same_doi = [b in a.split("|") for a, b in zip(linked["doi"], linked["doi_liion"], strict=True)]
    assert sum(same_doi) == 132
    assert linked["temperature_c_liion"].between(15, 35).all()


@pytest.mark.mirror
def test_obelix_without_liion_has_no_links(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "obelix").symlink_to(mirror / "obelix")
    monkeypatch.setenv("SSE_DATA_MIRROR", str(tmp_path))
    monkeypatch.setenv("SSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SSE_OFFLINE", "1")
    assert obelix.load(structures=False).entries["same_as"].isna().all()
