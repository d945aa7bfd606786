"""Disorder classes, with the worked example of Kim et al."""

import pytest
from pymatgen.core import Lattice, Structure

from sselib.materials.disorder import DisorderClass, disorder_class, disordered_elements

CUBIC = Lattice.cubic(5.0)


def two_sites(first: dict[str, float], second: dict[str, float]) -> Structure:
    return Structure(CUBIC, [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_li3ycl6_of_table_4_of_kim():
    sites = [
        ("Li", 0.86, (0.00, 0.33, 0.50)),
        ("Li", 0.62, (0.00, 0.33, 0.00)),
        ("Y", 0.57, (0.33, 0.67, 0.49)),
        ("Y", 0.43, (0.33, 0.67, 0.98)),
        ("Y", 1.0, (0.0, 0.0, 0.0)),
        ("Cl", 1.0, (0.11, 0.22, 0.78)),
        ("Cl", 1.0, (0.13, 0.56, 0.75)),
        ("Cl", 1.0, (0.21, 0.42, 0.28)),
    ]
    species, positions = [{el: occupancy} for el, occupancy, _ in sites], [xyz for *_, xyz in sites]
    structure = Structure(Lattice.hexagonal(11.2, 6.0), species, positions)
    assert disorder_class(structure) == "Li cation and Other atom disorder"
    assert disordered_elements(structure) == {"Li", "Y"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"Li": 1.0}, {"Cl": 1.0}, DisorderClass.NONE),
        ({"Li": 0.9995}, {"Cl": 1.0}, DisorderClass.NONE),
        ({"Li": 0.9}, {"Cl": 1.0}, DisorderClass.LI),
        ({"Li": 1.0}, {"Cl": 0.5, "Br": 0.5}, DisorderClass.OTHER),
        ({"Li": 0.5}, {"Cl": 0.9}, DisorderClass.LI_AND_OTHER),
        ({"Li": 0.5, "Na": 0.5}, {"Cl": 1.0}, DisorderClass.LI_AND_OTHER),
        ({"Li+": 0.5}, {"Cl-": 1.0}, DisorderClass.LI),
    ],
)
def test_four_classes(first, second, expected):
    assert disorder_class(two_sites(first, second)) is expected


def test_supercell_and_origin_make_no_difference():
    structure = two_sites({"Li": 0.5}, {"Cl": 1.0})
    moved = structure.copy().translate_sites([0, 1], [0.13, 0.2, 0.3])
    assert disorder_class(structure * (2, 1, 1)) is disorder_class(moved) is DisorderClass.LI


@pytest.mark.mirror
def test_249_of_321_obelix_structures_are_disordered(mirror):
    import warnings
    import zipfile

    counts = dict.fromkeys(DisorderClass, 0)
    with zipfile.ZipFile(mirror / "obelix" / "all_cifs.zip") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (n for n in archive.namelist() if n.endswith(".cif")):
            text = archive.read(name).decode("utf-8", "replace")
            counts[disorder_class(Structure.from_str(text, fmt="cif"))] += 1
    assert sum(counts.values()) == 321
    assert counts[DisorderClass.NONE] == 321 - 249  # Kim et al. count 248 with partial occupancies
