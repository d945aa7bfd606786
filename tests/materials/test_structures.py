"""CIFs: what is read, what is refused, what is found suspicious; invariance of the findings."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice, Structure

from sselib.errors import DataError
from sselib.materials.cif import read_cif
from sselib.materials.composition import parse_formula
from sselib.materials.structures import (
    FINDINGS,
    quality_findings,
    sha256_of_text,
    structure_from_json,
    structure_record,
    structure_to_json,
)
from sselib.sources.table import structures_frame

HEAD = """data_x
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
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
LICL = HEAD + "Li1 Li 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1\n"

NO_LI = {"b4c", "cy2", "5tl", "u2y", "hta", "s3h", "u8r"}  # of OBELiX
MISMATCHED = {"b4c", "4xq", "hta", "s3h", "9yt", "hx7", "ckw", "yab", "etz", "duf"}


def _cif(*atoms: str) -> str:
    return HEAD + "".join(f"{atom}\n" for atom in atoms)


def test_plain_cif() -> None:
    structure = read_cif(LICL, name="licl.cif")
    assert structure.composition.reduced_formula == "LiCl" and structure.lattice.a == pytest.approx(4.0)
    assert quality_findings(structure, expected=Composition("LiCl")) == ()


@pytest.mark.parametrize("text", ["\ufeff" + LICL, LICL.replace("\n", "\r\n"), "data_global\n_a b\n" + LICL])
def test_byte_order_mark_line_ends_and_a_journal_header_do_not_matter(text: str) -> None:
    assert read_cif(text, name="x") == read_cif(LICL, name="x")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "0 unit cells"),
        ("no CIF at all", "0 unit cells"),
        (HEAD, "empty or incomplete"),
        (LICL[: LICL.rindex("0.5 1")], "a loop lacks values: is the file cut off"),
        (_cif("Li1 Li 0 0"), "empty or incomplete"),
        (_cif("Li1 Li 0 0 0 0"), "no site with an occupancy"),
        (_cif("Li1 Li 0 0 ? 1"), "could not convert"),
        (_cif("Q1 Xx 0 0 0 1"), "unknown element Xx"),
        (LICL.replace("_a 4.0", "_a 0"), "impossible cell"),
        (LICL.replace("_a 4.0", "_a nan"), "impossible cell"),
        (LICL + LICL.replace("data_x", "data_y"), "2 unit cells"),
        (LICL + LICL, "2 unit cells"),
        (LICL[:60], "cannot be read"),
    ],
)
def test_what_is_no_structure_is_refused_with_file_and_reason(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=r"CIF broken\.cif .*expected") as caught:
        read_cif(text, name="broken.cif")
    assert reason in str(caught.value)


@given(st.integers(0, len(LICL)))
def test_a_truncated_cif_gives_a_structure_or_the_one_error(length: int) -> None:
    try:
        structure = read_cif(LICL[:length], name="x.cif")
    except DataError:
        return
    assert set(structure.composition.get_el_amt_dict()) <= {"Li", "Cl"}


@pytest.mark.parametrize("atoms", [("Li1 Li 0 0 0 1.2",), ("Li1 Li 0 0 0 1", "Na1 Na 0 0 0 1")])
def test_occupancy_above_1_is_a_finding_that_survives_storage(atoms: tuple[str, ...]) -> None:
    structure = read_cif(_cif(*atoms, "Cl1 Cl 0.5 0.5 0.5 1"), name="x.cif")
    assert max(site.species.num_atoms for site in structure) == pytest.approx(1.0)
    assert quality_findings(structure) == ("occupancy_above_1",)
    assert quality_findings(structure_from_json(structure_to_json(structure))) == ("occupancy_above_1",)


def test_rounded_thirds_are_no_finding() -> None:
    mixed = _cif("Li1 Li 0 0 0 0.3334", "Na1 Na 0 0 0 0.3334", "K1 K 0 0 0 0.3333", "Cl1 Cl 0.5 0.5 0.5 1")
    assert quality_findings(read_cif(mixed, name="x")) == ()


def test_empty_sites_do_not_count_as_lithium() -> None:
    structure = read_cif(_cif("Li1 Li 0 0 0 0", "Na1 Na 0 0 0 1", "Cl1 Cl 0.5 0.5 0.5 1"), name="x")
    assert structure.composition.reduced_formula == "NaCl" and quality_findings(structure) == ("no_li",)


def test_each_finding_is_named() -> None:
    near = _cif("Na1 Na 0 0 0 0.5", "Na2 Na 0.1 0 0 0.7", "Na3 Na 0.5 0 0 1.5", "Cl1 Cl 0.5 0.5 0.5 1")
    assert quality_findings(read_cif(near, name="x"), expected=Composition("LiCl")) == tuple(FINDINGS)


@pytest.mark.parametrize("shift_angstrom, found", [(0.59, True), (0.61, False)])
def test_close_sites_across_the_cell_border(shift_angstrom: float, found: bool) -> None:
    coords = [[0.99, 0, 0], [0.99 + shift_angstrom / 4, 0, 0]]
    structure = Structure(Lattice.cubic(4.0), [{"Li": 0.5}, {"Li": 0.5}], coords)
    assert ("sites_closer_than_0.6_angstrom" in quality_findings(structure)) is found


@given(st.integers(0, 2**32 - 1))
def test_findings_do_not_depend_on_order_origin_supercell_or_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    structure = Structure(
        Lattice.orthorhombic(4, 5, 6),
        [{"Li": 0.5}, {"Li": 0.5}, "P", "O"],
        [[0, 0, 0], [0.1, 0, 0], [0.5, 0.5, 0.5], [0.1, 0.5, 0.9]],
    )
    expected = Composition("Li3PO4")
    changed = Structure.from_sites([structure[i] for i in rng.permutation(len(structure))])
    changed.translate_sites(range(len(changed)), rng.random(3))
    changed.make_supercell(rng.permutation(np.diag(rng.integers(1, 3, 3))))
    assert quality_findings(changed, expected=expected) == quality_findings(structure, expected=expected)


def test_mismatch_is_an_l1_distance_of_mole_fractions() -> None:
    structure = read_cif(LICL, name="x")
    assert quality_findings(structure, expected=Composition("Li10Cl10")) == ()
    assert quality_findings(structure, expected=Composition("Li1.2Cl")) == ()  # L1 = 0.09
    assert quality_findings(structure, expected=Composition("Li1.3Cl")) == ("composition_mismatch",)  # 0.13


def test_json_keeps_disorder_and_oxidation_states() -> None:
    species = [{"Li+": 0.25, "Na+": 0.5}, "Cl-"]
    structure = Structure(Lattice.cubic(4.0), species, [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert structure_from_json(structure_to_json(structure)) == structure


def test_record_fills_the_structures_table() -> None:
    structure = read_cif(LICL, name="x")
    record = structure_record(structure, structure_id="a:1", source="a", text=LICL, origin="licl.cif")
    row = structures_frame([record]).iloc[0]
    assert (row["structure_id"], row["source"], row["origin"]) == ("a:1", "a", "licl.cif")
    assert row["sha256"] == sha256_of_text(LICL) and structure_from_json(row["structure_json"]) == structure


@pytest.mark.mirror
def test_findings_in_obelix(mirror: Path) -> None:
    """Seven CIFs without Li, ten that disagree with the table, 46 with split sites, none overfull."""
    from sselib.sources.obelix import load

    table = load()
    formulas = table.entries.set_index("structure_id")["cell_formula"]
    found = {
        row.structure_id: quality_findings(
            structure_from_json(row.structure_json), expected=parse_formula(formulas[row.structure_id])
        )
        for row in table.structures.itertuples()
    }
    having = {name: {key.split(":")[1] for key, names in found.items() if name in names} for name in FINDINGS}
    assert len(found) == 321 and set(found) == set(table.entries["structure_id"].dropna())
    assert having["no_li"] == NO_LI
    assert having["composition_mismatch"] == MISMATCHED
    assert len(having["sites_closer_than_0.6_angstrom"]) == 46 and not having["occupancy_above_1"]


@pytest.mark.mirror
def test_obelix_cifs_are_mostly_disordered(mirror: Path) -> None:
    with zipfile.ZipFile(mirror / "obelix" / "all_cifs.zip") as archive:
        names = archive.namelist()[::10]
        ordered = [read_cif(archive.read(n).decode(), name=n).is_ordered for n in names]
    assert 0.6 < 1 - sum(ordered) / len(ordered) < 0.95  # 249 of 321 in all
