"""Importing own data: a messy table row by row, units, CIFs by id and formula, the way to notebook 01."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from sselib import cli, paths
from sselib.columns import Entry
from sselib.curation.inputs import load_sources
from sselib.errors import ConductivityError, DataError, ParameterError, SchemaError
from sselib.materials.conductivity import parse_conductivity, sigma_unit_of
from sselib.running.runner import _imported
from sselib.sources import cif_matching, own, reference
from sselib.sources.column_mapping import guess, parse_pairs
from sselib.sources.data_import import (
    ImportRequest,
    fingerprint,
    import_table,
    load_stored,
    report_lines,
    stored,
)
from sselib.sources.quantities import read_temperature, temperature_unit_of

# Semicolons and decimal commas as a German Excel writes them; every third row has something the matter.
MESSY = """\ufeffSample;Composition;σ_RT (mS/cm);T (K);SG;Ref;Operator
S01;Li6PS5Cl;1,9;298,15;216;10.1016/j.ssi.2012.06.008;AB
S02;Li₇La₃Zr₂O₁₂;0,51;298;Ia-3d;https://doi.org/10.1002/anie.200701144;AB
S03;Li1.3Al0.3Ti1.7(PO4)3;7E-1;25 °C;167;;AB
S04;[Li3N];0.58;RT;191;;CD
S05;Li10Ge(PS6)2;1,2e1;300;P4_2/nmc;10.1038/NMAT3066;CD
S06;Li3YCl6;5.1x10^-1;298;;;CD
S07;LiCl;<1e-5;298;225;;CD
S08;LiBr;≤ 1,0·10⁻⁴;298;225;;CD
S09;"Li2S";1e-10;298;225;;CD
S10;(Li2S)0.75 (P2S5)0.25;0,2;298;;;CD
S11;Li3PS4;2,6e-4 mS cm-1;298;31;;CD
S12;Li3PS4;0.16 mS/cm;298;62;;CD
S13;Li4SiO4;2e-7;298;;;CD
S14;Li7La3Zr2O12;1.63e-6 S/cm;298;142;;CD
S15;Li6PS5Br;1.1;423;216;;CD
S16;Li6PS5I;1,3e-3;298;216;;CD
S17;NaCl;1e-9;298;225;;CD
S01;Li6PS5Cl;2,1;298;216;;EF
;LiI;2,8e-5;298;225;;EF
S20;Li1-xCoO2;0,1;298;;;EF
S21;LiXx2;0,1;298;;;EF
S22;;0,1;298;;;EF
S23;LiF;;298;;;EF
S24;LiF;n.d.;298;;;EF
S25;LiF;0;298;;;EF
S26;LiF;>1e-3;298;;;EF
S27;LiF;1e-9;warm;;;EF
S28;LiF;1e-9;298;Fm-3q;;EF
S29;LiF;5e9;298;;;EF
S30;LiF;1e-9;298
"""
REJECTED = {
    18: ("S01", "already that of row 1"),
    19: (None, "the id is empty"),
    20: ("S20", "'Li1-xCoO2' holds a charge, a variable"),
    21: ("S21", "'LiXx2' names no known element"),
    22: ("S22", "the formula is missing"),
    23: ("S23", "conductivity '' is empty"),
    24: ("S24", "conductivity 'n.d.' cannot be read"),
    25: ("S25", "not positive"),
    26: ("S26", "is a lower bound"),
    27: ("S27", "column 'temperature_c' holds 'warm'"),
    28: ("S28", "column 'space_group' holds 'Fm-3q'"),
    29: ("S29", "Is the unit right"),
    30: ("S30", "line 31 has 4 fields and the header 7"),
}
PAIRS = ("SG=space_group", "Ref=doi")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The folder of own data of this test."""
    monkeypatch.setenv("SSE_OWN_DATA", str(tmp_path / "own"))
    return tmp_path / "own"


def _messy(folder: Path) -> str:
    path = folder / "messy.csv"
    path.write_text(MESSY, encoding="utf-8")
    return str(path)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as objects with None for what is missing: parquet may turn None into NaN."""
    return table.astype(object).where(table.notna(), None)


def _cif(folder: Path, name: str, structure: Structure, *, symprec: float | None = None) -> None:
    folder.mkdir(exist_ok=True)
    CifWriter(structure.copy().relabel_sites(), symprec=symprec).write_file(folder / f"{name}.cif")


def _rock_salt(anion: str, a_angstrom: float) -> Structure:
    lattice = Lattice.cubic(a_angstrom)
    return Structure.from_spacegroup("Fm-3m", lattice, ["Li", anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


# --- the messy table


def test_every_row_of_the_messy_table_is_read_or_rejected_with_its_reason(tmp_path, home):
    found = import_table(ImportRequest(_messy(tmp_path), pairs=PAIRS))
    rejects = found.table.rejects.set_index("row")
    assert len(found.table.entries) == 17 and len(rejects) == 13
    assert set(rejects.index) == set(REJECTED)
    for row, (key, reason) in REJECTED.items():
        assert reason in rejects.loc[row, "reason"]
        assert (rejects.loc[row, "source_id"] or None) == key
        assert "LiF" in rejects.loc[row, "text"] or row < 23


def test_values_of_the_messy_table(tmp_path, home):
    found = import_table(ImportRequest(_messy(tmp_path), pairs=PAIRS))
    assert (found.sigma_unit, found.temperature_unit) == ("mS/cm", "K")
    rows = found.table.entries.set_index(Entry.SOURCE_ID)
    sigma = (10 ** rows[Entry.LOG10_SIGMA]).to_dict()
    expected = {
        "S01": 1.9e-3,
        "S02": 5.1e-4,
        "S03": 7e-4,
        "S05": 1.2e-2,
        "S06": 5.1e-4,
        "S07": 1e-8,
        "S08": 1e-7,
        "S11": 2.6e-7,
        "S12": 1.6e-4,
        "S14": 1.63e-6,
    }
    assert {key: sigma[key] for key in expected} == pytest.approx(expected)
    assert rows.index[rows[Entry.CENSORED]].tolist() == ["S07", "S08"]
    assert rows.loc["S01", Entry.TEMPERATURE_C] == 25 and rows.loc["S03", Entry.TEMPERATURE_C] == 25
    assert np.isnan(rows.loc["S04", Entry.TEMPERATURE_C])  # room temperature
    assert rows.loc["S15", Entry.TEMPERATURE_C] == pytest.approx(149.85)
    assert rows.loc["S02", Entry.COMPOSITION] == rows.loc["S14", Entry.COMPOSITION]
    assert rows.loc["S10", Entry.COMPOSITION] == rows.loc["S11", Entry.COMPOSITION]  # 0.75 Li2S, 0.25 P2S5
    assert (
        rows.loc["S02", Entry.SPACE_GROUP_NUMBER] == 230 and rows.loc["S05", Entry.DOI] == "10.1038/nmat3066"
    )
    text = "\n".join(report_lines(found))
    assert "30 rows, 17 measurements, 13 rejected" in text and "columns not used: Operator" in text
    assert "1 of 17 measurements lie outside 20 to 34 deg C" in text
    assert "row 30 (id S30): line 31 has 4 fields" in text


def test_the_import_comes_back_as_it_was_and_is_a_source(tmp_path, home):
    found = import_table(ImportRequest(_messy(tmp_path), pairs=PAIRS))
    again = load_stored("mine")
    for name in ("entries", "rejects", "structures"):
        pd.testing.assert_frame_equal(_plain(getattr(again, name)), _plain(getattr(found.table, name)))
    assert again.files == found.table.files and stored()["mine"]["rows"] == 17
    inputs = load_sources(["reference", "mine"])
    assert [t.name for t in inputs.tables] == ["reference", "mine"] and "mine (17" in inputs.message
    assert len((home / "mine" / "rejects.csv").read_text(encoding="utf-8").splitlines()) == 14


def test_a_name_is_not_overwritten_unasked_and_a_change_shows(tmp_path, home):
    table = _messy(tmp_path)
    import_table(ImportRequest(table, pairs=PAIRS))
    before = fingerprint("mine")
    with pytest.raises(DataError, match=r"already stored in .* give --replace"):
        import_table(ImportRequest(table, pairs=PAIRS))
    Path(table).write_text(MESSY.replace("1,9;298,15", "2,9;298,15"), encoding="utf-8")
    import_table(ImportRequest(table, pairs=PAIRS, replace=True))
    assert before and fingerprint("mine") != before and fingerprint("other") == ""
    assert [p.name for p in home.iterdir()] == ["mine"]  # nothing is left beside it


def test_resume_sees_that_an_import_changed(tmp_path, home):
    table, named = _messy(tmp_path), {"sources": ["reference", "mine"], "seed": 0}
    assert _imported(named) == {}
    import_table(ImportRequest(table, pairs=PAIRS))
    before = _imported(named)
    assert before.keys() == {"mine"} and _imported({"sources": ["reference"]}) == {}
    Path(table).write_text(MESSY.replace("0,51;298", "0,52;298"), encoding="utf-8")
    import_table(ImportRequest(table, pairs=PAIRS, replace=True))
    assert _imported(named) != before


def test_a_damaged_import_is_named(tmp_path, home):
    import_table(ImportRequest(_messy(tmp_path), pairs=PAIRS))
    path = home / "mine" / "entries.parquet"
    pd.read_parquet(path).head(2).to_parquet(path)
    with pytest.raises(DataError, match=r"entries.parquet was changed since the import: import it again"):
        load_stored("mine")
    path.unlink()
    with pytest.raises(DataError, match=r"entries.parquet is missing"):
        load_stored("mine")
    (home / "mine" / "import.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"import.json cannot be read"):
        stored()


def test_an_unknown_source_is_named(tmp_path, home):
    import_table(ImportRequest(_messy(tmp_path), pairs=PAIRS))
    with pytest.raises(ParameterError, match=r"'mein' is unknown: .* mine. Did you mean 'mine'"):
        load_sources(["reference", "mein"])
    with pytest.raises(ParameterError, match="no own data named 'x'"):
        load_stored("x")
    for name in ("obelix", "a b", "../x"):
        with pytest.raises(ParameterError, match="cannot be used for your data"):
            import_table(ImportRequest(_messy(tmp_path), name=name))


# --- columns


def test_columns_are_guessed_only_where_they_are_plain():
    assert guess(["Composition", "log10 sigma", "T", "a"], given={}) == {
        "formula": "Composition",
        "conductivity": "log10 sigma",
        "temperature_c": "T",
        "a_angstrom": "a",
    }
    assert guess(["t (h)", "c (mol/l)", "t", "b (nm)", "Name"], given={}) == {}
    assert guess(["T (K)", "c (Å)", "β (°)"], given={}) == {
        "temperature_c": "T (K)",
        "c_angstrom": "c (Å)",
        "beta_deg": "β (°)",
    }
    assert "formula" not in guess(["Material", "Composition"], given={})
    assert guess(["formula", "Composition"], given={})["formula"] == "formula"
    assert "conductivity" not in guess(["sigma"], given={"note": "sigma"})


def test_pairs_are_checked():
    columns = ["sigma = RT", "Composition", "Nr"]
    assert parse_pairs(["sigma = RT=conductivity"], columns=columns) == {"conductivity": "sigma = RT"}
    for pair, message in (
        ("Composition", "expected COLUMN=NAME"),
        ("formula=Composition", "write 'Composition=formula'"),
        ("Composition=formla", "Did you mean 'formula'"),
        ("Compositon=formula", "Did you mean 'Composition'"),
    ):
        with pytest.raises(ParameterError, match=message):
            parse_pairs([pair], columns=columns)
    with pytest.raises(ParameterError, match="gives 'id' twice"):
        parse_pairs(["Nr=id", "Composition=id"], columns=columns)


def test_a_missing_column_is_named(tmp_path, home):
    (tmp_path / "t.csv").write_text("Composition,x\nLiCl,1\n")
    with pytest.raises(SchemaError, match="no column 'conductivity'"):
        import_table(ImportRequest(str(tmp_path / "t.csv")))
    assert not home.exists()


# --- units


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("sigma (mS/cm)", "mS/cm"),
        ("σ / S cm-1", "S/cm"),
        ("Conductivity [S·m⁻¹]", "S/m"),
        ("σ in µS/cm", "uS/cm"),
        ("log10(σ / S/cm)", "log10"),
        ("log sigma", "log10"),
        ("lgσ", "log10"),
        ("IC_RT_S_cm", "S/cm"),
        ("conductivity_mS_cm", "mS/cm"),
        ("log10 σ (mS/cm)", "log10(mS/cm)"),
        ("Conductivity (x10-4 S/cm)", "10^-4 S/cm"),
        ("σ (×10⁻⁴ S·cm⁻¹)", "10^-4 S/cm"),
        ("σ / Ω−1 cm−1", "S/cm"),
        ("Smoothness", None),
        ("sigma", None),
    ],
)
def test_unit_of_a_conductivity_header(header, unit):
    assert sigma_unit_of(header) == unit


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("T (K)", "K"),
        ("T / °C", "C"),
        ("temperature_c", "C"),
        ("Temperature (Kelvin)", "K"),
        ("T (º C)", "C"),
        ("T_K", "K"),
        ("Temp [deg C]", "C"),
        ("Kelvin", "K"),
        ("T", None),
    ],
)
def test_unit_of_a_temperature_header(header, unit):
    assert temperature_unit_of(header) == unit


@pytest.mark.parametrize(
    "header", ["ln σ (S/cm)", "-log10 σ", "σT (S K/cm)", "σ ×10⁴ (S/cm)", "σ (milliS/cm)"]
)
def test_a_header_that_could_mislead_is_a_question(header):
    with pytest.raises(ConductivityError, match=r"--units|its unit"):
        sigma_unit_of(header)


@given(st.floats(1e-9, 1.0), st.sampled_from([("S/cm", 0), ("mS/cm", -3), ("S/m", -2), ("uS/cm", -6)]))
def test_a_unit_in_the_cell_is_the_same_as_one_for_the_column(value, unit):
    name, power = unit
    written = [f"{value:.6e} {name}", f"{value:.6e}{name.replace('/', ' ')}-1".replace(".", ",")]
    for text in written:
        found = parse_conductivity(text, unit="log10").log10_sigma
        assert found == pytest.approx(np.log10(value) + power, abs=1e-5)
        assert found == pytest.approx(parse_conductivity(f"{value:.6e}", unit=name).log10_sigma)


def test_a_unit_that_is_not_known_is_refused():
    with pytest.raises(ConductivityError, match="'kS/m' is unknown"):
        parse_conductivity("3", unit="kS/m")


@given(st.floats(-200, 900).map(lambda t: round(t, 3)))
def test_kelvin_and_celsius_agree(t):
    assert read_temperature(f"{t} °C", unit="K") == pytest.approx(t)
    assert read_temperature(f"{t + 273.15:.4f} K") == pytest.approx(t, abs=1e-3)
    assert read_temperature(f"{t + 273.15:.4f}".replace(".", ","), unit="K") == pytest.approx(t, abs=1e-3)


def test_temperatures_that_are_none_and_that_cannot_be():
    assert read_temperature("") is None and read_temperature("r.t.") is None
    assert read_temperature("Room temperature") is None
    for text in ("-300", "hot", "-1 K"):
        with pytest.raises(DataError, match="temperature_c"):
            read_temperature(text)
    with pytest.raises(DataError, match="temperature unit 'F' is unknown"):
        read_temperature("25", unit="F")


def test_a_reference_that_is_no_doi_is_remarked(tmp_path, home):
    (tmp_path / "t.csv").write_text("formula,conductivity,doi\nLiCl,1e-9,Smith 2020\nLiF,1e-9,10.1000/x\n")
    remarks = import_table(ImportRequest(str(tmp_path / "t.csv"))).remarks
    assert "1 texts of the column 'doi' hold no DOI and are left out: ['Smith 2020']" in remarks


def test_kelvin_without_a_unit_is_a_question(tmp_path, home):
    (tmp_path / "t.csv").write_text("formula,conductivity,temperature\nLiCl,1e-9,298\nLiF,1e-9,300\n")
    with pytest.raises(DataError, match=r"names no unit and holds 298 to 300: .*--temperature-unit K"):
        import_table(ImportRequest(str(tmp_path / "t.csv")))
    right = import_table(ImportRequest(str(tmp_path / "t.csv"), temperature_unit="K"))
    assert right.table.entries[Entry.TEMPERATURE_C].round(2).tolist() == [24.85, 26.85]


# --- CIFs


TABLE = "id,formula,conductivity,space_group\n"


def _with_cifs(folder: Path, rows: str, *, header: str = TABLE):
    (folder / "t.csv").write_text(header + rows)
    return own.load(str(folder / "t.csv"), name="lab", column_map={}, cif_folder=str(folder / "cifs"))


def test_a_row_takes_space_group_lattice_and_content_from_its_cif(tmp_path):
    _cif(tmp_path / "cifs", "a", _rock_salt("Cl", 5.13), symprec=0.01)  # states Fm-3m
    _cif(tmp_path / "cifs", "b", _rock_salt("F", 4.02))  # written in P1
    row, other = _with_cifs(tmp_path, "a,LiCl,1e-9,\nb,LiF,1e-9,\n").entries.to_dict("records")
    for found, a in ((row, 5.13), (other, 4.02)):
        assert (found[Entry.SPACE_GROUP_SYMBOL], found[Entry.SPACE_GROUP_NUMBER]) == ("Fm-3m", 225)
        assert [found[c] for c in ("a_angstrom", "b_angstrom", "c_angstrom")] == pytest.approx([a] * 3)
        assert found[Entry.ALPHA_DEG] == pytest.approx(90)
    assert row[Entry.CELL_FORMULA] == "Li4Cl4"


def test_what_the_row_states_is_kept(tmp_path):
    _cif(tmp_path / "cifs", "a", _rock_salt("Cl", 5.13))
    header = "id,formula,conductivity,space_group,a_angstrom\n"
    row = _with_cifs(tmp_path, "a,LiCl,1e-9,227,5.2\n", header=header).entries.iloc[0]
    assert row[Entry.SPACE_GROUP_NUMBER] == 227 and row[Entry.A_ANGSTROM] == 5.2
    assert np.isnan(row[Entry.B_ANGSTROM])


def test_cifs_are_matched_by_column_by_formula_in_the_name_and_by_content(tmp_path):
    folder = tmp_path / "cifs"
    for name, anion in (("scan_17", "Cl"), ("LiF", "F"), ("unnamed", "Br")):
        _cif(folder, name, _rock_salt(anion, 5.0))
    header = "id,formula,conductivity,cif\n"
    rows = "1,LiCl,1e-9,scan_17.cif\n2,Li2F2,1e-9,\n3,LiBr,1e-9,\n4,Li3N,1e-3,\n"
    entries = _with_cifs(tmp_path, rows, header=header).entries.set_index(Entry.SOURCE_ID)
    assert entries[Entry.STRUCTURE_ID].dropna().to_dict() == {"1": "lab:1", "2": "lab:2", "3": "lab:3"}


def test_polymorphs_go_by_their_space_group_and_repeats_share_a_cif(tmp_path):
    _cif(tmp_path / "cifs", "gamma", reference.structure("li3ps4-gamma"), symprec=0.01)
    read = _with_cifs(tmp_path, "1,Li3PS4,1e-7,31\n2,Li3PS4,1e-4,62\n3,Li3PS4,3e-7,31\n")
    entries = read.entries.set_index(Entry.SOURCE_ID)
    assert entries[Entry.STRUCTURE_ID].dropna().index.tolist() == ["1", "3"]
    assert read.rejects.empty and len(read.structures) == 2


@pytest.mark.parametrize(
    ("names", "rows", "message"),
    [
        (
            ["x"],
            "1,LiCl,1e-9,\n2,LiCl,1e-8,\n",
            "it fits the rows 1, 2, none of which states its space group",
        ),
        (["x", "y"], "1,LiCl,1e-9,\n", "fits the row '1' too"),
        (
            ["x"],
            "1,LiF,1e-9,\n",
            "no row has the id 'x', and none without a structure has its composition LiCl",
        ),
        (["x"], "1,LiCl,1e-9,227\n", "space group 225 or not stated"),
    ],
)
def test_a_cif_that_cannot_be_placed_is_rejected_and_says_what_to_do(tmp_path, names, rows, message):
    for name in names:
        _cif(tmp_path / "cifs", name, _rock_salt("Cl", 5.13))
    read = _with_cifs(tmp_path, rows)
    assert len(read.rejects) == len(names) and read.structures.empty
    assert read.rejects["reason"].str.contains(message, regex=False).all()
    assert read.rejects["reason"].str.contains("name it <id>.cif").all()


def test_space_group_of_a_cif_is_read_from_each_usual_tag():
    crystal = _rock_salt("Cl", 5.13)
    for line, number in (
        ("_symmetry_Int_Tables_number 216", 216),
        ("_space_group_IT_number  62", 62),
        ("_symmetry_space_group_name_H-M 'P n m a'", 62),
        ('_space_group_name_H-M_alt "F d -3 m :2"', 227),
        ("_space_group_name_H-M_alt 'P 1'", 225),  # P1 is what programs write: spglib decides
        ("_space_group_name_H-M_alt ?", 225),
    ):
        assert cif_matching.space_group(line, crystal)[1] == number


# --- Excel and the command line


def test_excel_is_read_or_says_what_it_needs(tmp_path, home):
    path = tmp_path / "t.xlsx"
    if importlib.util.find_spec("openpyxl") is None:
        path.write_bytes(b"PK")
        with pytest.raises(
            DataError, match=r"openpyxl, which reads it, is not installed.*save the sheet as CSV"
        ):
            import_table(ImportRequest(str(path)))
        return
    frame = pd.DataFrame({"formula": ["LiCl", None, "LiF"], "conductivity": [1e-9, None, "2,5e-9"]})
    frame.to_excel(path, index=False)
    assert len(import_table(ImportRequest(str(path))).table.entries) == 2
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot be read"):
        import_table(ImportRequest(str(path), replace=True))


def test_command_line_imports_and_lists(tmp_path, home, capsys):
    arguments = ["data", "import", _messy(tmp_path), "--name", "lab", "--map", *PAIRS]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "30 rows, 17 measurements, 13 rejected" in printed
    assert "01.sources=[obelix, liion, reference, lab]" in printed
    assert cli.main(["data", "list"]) == 0
    assert "own data 'lab': 17 measurements" in capsys.readouterr().out
    assert cli.main(arguments) == 1
    assert "sse: error: own data named 'lab' are already stored" in capsys.readouterr().err


def test_another_folder_is_said_to_need_the_variable(tmp_path, home, capsys):
    table = _messy(tmp_path)
    assert cli.main(["data", "import", table, "--to", str(tmp_path / "to"), "--map", *PAIRS]) == 0
    assert f"SSE_OWN_DATA={tmp_path / 'to'}" in capsys.readouterr().out
    assert not home.exists() and load_stored("mine", folder=tmp_path / "to").name == "mine"


def test_imports_lie_in_the_checkout_or_with_the_user_but_never_in_the_package(monkeypatch, tmp_path):
    monkeypatch.delenv("SSE_OWN_DATA", raising=False)
    assert paths.own_data_folder() == paths.project_root() / "data_own"
    package = Path(paths.__file__).parent
    monkeypatch.setattr(paths, "project_root", lambda: package / "_project")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert not paths.own_data_folder().is_relative_to(package)


@pytest.mark.slow
def test_from_import_to_notebook_01(tmp_path, home):
    """The whole way: import with CIFs, run notebook 01, find the rows, the structure and the rejects."""
    _cif(tmp_path / "cifs", "S16", reference.structure("li6ps5i"))
    _cif(tmp_path / "cifs", "nowhere", _rock_salt("Cl", 5.13))
    pairs = ["--map", *PAIRS, "--cifs", str(tmp_path / "cifs")]
    assert cli.main(["data", "import", _messy(tmp_path), *pairs]) == 0
    run = tmp_path / "run"
    command = [sys.executable, "-m", "sselib", "run", "01", "--out", str(run), "--no-png"]
    done = subprocess.run(
        [*command, "-p", "sources=[reference, mine]"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    audit = pd.read_parquet(run / "01_curation/audit.parquet").query("source == 'mine'")
    assert audit["action"].value_counts()["rejected"] == 13 and len(audit) >= 30
    curated = pd.read_parquet(run / "01_curation/curated.parquet").set_index(Entry.ID)
    assert curated.loc["mine:S16", Entry.STRUCTURE_ID] == "mine:S16"
    assert curated.loc["mine:S16", Entry.A_ANGSTROM] == pytest.approx(10.145)
    mode = json.loads((run / "01_curation/data_mode.json").read_text(encoding="utf-8"))
    assert {record["name"] for record in mode["sources"]} == {"reference", "mine"}
