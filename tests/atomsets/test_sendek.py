"""Sendek's 20 features: hand-computed crystals, published values, invariance, disorder, bad input."""

from math import isnan, pi, sqrt

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from sselib.atomsets.sendek import SENDEK_FEATURES, sendek_features, sendek_features_with_reasons
from sselib.errors import DataError

X_LI, X_O, X_CL, X_N, X_P, X_I = 0.98, 3.44, 3.16, 3.04, 2.19, 2.66  # Pauling
R_LI, R_O, R_CL = 1.28, 0.66, 1.02  # covalent radii, Angstrom


def rock_salt(a: float, cation: object, anion: object) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def li2o(a: float = 4.65) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Li", "O"], [[0.25] * 3, [0, 0, 0]])


def li3n() -> Structure:
    return Structure(
        Lattice.hexagonal(3.648, 3.875),
        ["N", "Li", "Li", "Li"],
        [[0, 0, 0], [0, 0, 0.5], [1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]],
    )


def li3p() -> Structure:
    return Structure.from_spacegroup(
        "P6_3/mmc",
        Lattice.hexagonal(4.264, 7.579),
        ["P", "Li", "Li"],
        [[1 / 3, 2 / 3, 0.25], [0, 0, 0.25], [1 / 3, 2 / 3, 0.583]],
    )


def argyrodite_like() -> Structure:
    """Return a low-symmetry cell with split Li sites, mixed anions, mixed cations and a vacancy."""
    return Structure(
        Lattice.from_parameters(6.1, 7.0, 7.7, 82, 95, 101),
        [{"Li": 0.5}, {"Li": 0.5}, {"Li": 0.8}, "Li", {"P": 0.7, "Ge": 0.3}, {"S": 0.6, "Cl": 0.3}, "S", "S"],
        [
            [0.02, 0.1, 0.05],
            [0.1, 0.18, 0.1],
            [0.5, 0.52, 0.06],
            [0.1, 0.6, 0.55],
            [0.55, 0.1, 0.5],
            [0.8, 0.83, 0.8],
            [0.3, 0.3, 0.35],
            [0.75, 0.35, 0.25],
        ],
    )


def lens_volume(r: float, d: float) -> float:
    """Return the volume shared by two spheres of radius r at distance d."""
    return pi * (4 * r + d) * (2 * r - d) ** 2 / 12


def sphere(r: float) -> float:
    return 4 / 3 * pi * r**3


def test_li2o_by_hand() -> None:
    """Antifluorite: Li has 16 O (4 + 12) and 18 Li (6 + 12) within 4 Angstrom, O has 32 Li and 12 O."""
    a, f, ionicity = 4.65, sendek_features(li2o()), X_O - X_LI
    expected = {
        "volume_per_atom_angstrom3": a**3 / 12,
        "volume_per_anion_angstrom3": a**3 / 4,
        "li_neighbour_count": 34,
        "li_neighbour_count_std": 0,
        "li_li_bonds_per_li": 18,
        "sublattice_neighbour_count": 44,
        "neighbour_count_ratio": 34 / 44,
        "li_bond_ionicity": ionicity * 16 / 25,
        "li_bond_ionicity_std": ionicity * sqrt(0.64 * 0.36),
        "sublattice_bond_ionicity": ionicity * 32 / 38,
        "bond_ionicity_ratio": (16 / 25) / (32 / 38),
        "anion_coordination": 12,
        "anion_anion_distance_angstrom": a / sqrt(2),
        "li_anion_distance_angstrom": a * sqrt(3) / 4,
        "li_li_distance_angstrom": a / 2,
        "sublattice_electronegativity": X_O,
        "path_electronegativity": X_O,
        "path_width_angstrom": a * sqrt(2) / 4 - R_O,
        "sublattice_packing_fraction": 4 * sphere(R_O) / a**3,
    }
    packed = 8 * (sphere(R_LI) - 3 * lens_volume(R_LI, a / 2)) + 4 * sphere(R_O)  # Li spheres overlap
    assert {name: f[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert f["packing_fraction"] == pytest.approx(packed / a**3, rel=2e-3)
    assert set(f) == {*expected, "packing_fraction"}


def test_licl_by_hand() -> None:
    """Rock salt: Li has 6 Cl and 12 Li within 4 Angstrom."""
    a, f = 5.13, sendek_features(rock_salt(5.13, "Li", "Cl"))
    assert f["li_neighbour_count"] == f["sublattice_neighbour_count"] == 18
    assert f["li_li_bonds_per_li"] == f["anion_coordination"] == 12
    assert f["li_bond_ionicity"] == pytest.approx((X_CL - X_LI) / 2)
    assert f["li_bond_ionicity_std"] == pytest.approx((X_CL - X_LI) / 2)
    assert f["li_li_distance_angstrom"] == pytest.approx(a / sqrt(2))
    assert f["path_width_angstrom"] == pytest.approx(a * sqrt(2) / 4 - R_CL)
    assert f["packing_fraction"] == pytest.approx(4 * (sphere(R_LI) + sphere(R_CL)) / a**3, rel=1e-9)


def test_li3n_by_hand() -> None:
    """Two Li sites: one in NLi2 columns (N at c/2), two in the Li2N layers (N and Li at a/sqrt 3)."""
    a, c, f = 3.648, 3.875, sendek_features(li3n())
    layer = a / sqrt(3)
    assert f["li_anion_distance_angstrom"] == pytest.approx((c / 2 + 2 * layer) / 3)
    assert f["li_li_distance_angstrom"] == pytest.approx((sqrt(layer**2 + c**2 / 4) + 2 * layer) / 3)
    assert f["anion_anion_distance_angstrom"] == pytest.approx(a)
    assert f["anion_coordination"] == pytest.approx(8)  # six in the layer, two 0.23 Angstrom further along c
    assert f["li_li_bonds_per_li"] == pytest.approx((20 + 2 * 17) / 3)
    assert f["li_neighbour_count"] == pytest.approx((22 + 2 * 20) / 3)
    assert f["li_neighbour_count_std"] == pytest.approx(np.std([22, 20, 20]))


@pytest.mark.parametrize(
    ("structure", "published"),
    [
        (
            rock_salt(6.03, "Li", "I"),
            {
                "li_li_bonds_per_li": 0.0,
                "li_anion_distance_angstrom": 3.02,
                "li_li_distance_angstrom": 4.26,
                "sublattice_bond_ionicity": 1.68,
            },
        ),
        (
            li3p(),
            {
                "li_li_bonds_per_li": 11.33,
                "li_anion_distance_angstrom": 2.50,
                "li_li_distance_angstrom": 2.59,
                "sublattice_bond_ionicity": 1.21,
            },
        ),
    ],
)
def test_published_examples(structure: Structure, published: dict[str, float]) -> None:
    """Table S2 of the paper; its coordinates of Li3P differ a little from those used here."""
    f = sendek_features(structure)
    assert {name: f[name] for name in published} == pytest.approx(published, abs=0.025)


@pytest.mark.parametrize("structure", [li2o(), li3p(), argyrodite_like()], ids=["Li2O", "Li3P", "disordered"])
def test_invariance(structure: Structure) -> None:
    """The setting does not matter: supercell, origin, order of the atoms, other cell vectors."""
    reference = sendek_features(structure)
    moved = structure.copy().translate_sites(range(len(structure)), [0.13, 0.37, 0.71])
    order = np.random.default_rng(0).permutation(len(structure))
    shuffled = Structure.from_sites([structure[int(i)] for i in order])
    sheared = structure.copy().make_supercell([[1, 0, 0], [1, 1, 0], [0, -1, 1]])
    for other in (structure.copy().make_supercell([2, 1, 1]), moved, shuffled, sheared):
        assert sendek_features(other) == pytest.approx(reference, rel=1e-6, abs=1e-9)


def test_rotation() -> None:
    structure = argyrodite_like()
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = Structure(structure.lattice.matrix @ turn.T, structure.species_and_occu, structure.frac_coords)
    assert sendek_features(turned) == pytest.approx(sendek_features(structure), rel=5e-3, abs=1e-9)


def test_full_occupancy_written_as_disorder_changes_nothing() -> None:
    mixed = rock_salt(5.13, {"Li": 1.0}, {"Cl": 0.5, "Cl-": 0.5})
    assert sendek_features(mixed) == pytest.approx(sendek_features(rock_salt(5.13, "Li", "Cl")), abs=1e-9)


def test_expectation_agrees_with_sampling() -> None:
    """The paper samples arrangements: averages over random ones agree with the direct expectation.

    The standard deviation is itself uncertain by 5 % here, and 2.5 % smaller in a finite supercell.
    """
    disordered = rock_salt(5.13, {"Li": 0.6, "Mg": 0.25}, "Cl")
    expected = sendek_features(disordered)
    rng, supercell = np.random.default_rng(1), rock_salt(5.13, "Li", "Cl").make_supercell(4)  # 512 sites
    sampled = [sendek_features(_random_filling(supercell, rng)) for _ in range(3)]
    for name in SENDEK_FEATURES:
        mean = np.mean([values[name] for values in sampled])
        tolerance = 0.1 if name == "li_neighbour_count_std" else 0.02
        assert mean == pytest.approx(expected[name], rel=tolerance), name


def _random_filling(supercell: Structure, rng: np.random.Generator) -> Structure:
    """Return the rock salt with 60 % Li, 25 % Mg and 15 % vacancies on its cation sites, at random."""
    cations = [i for i, site in enumerate(supercell) if site.species_string == "Li"]
    chosen = [int(i) for i in rng.permutation(cations)]
    n_mg, n_vacant = round(0.25 * len(cations)), round(0.15 * len(cations))
    filled = supercell.copy()
    for i in chosen[:n_mg]:
        filled[i] = "Mg"
    filled.remove_sites(chosen[n_mg : n_mg + n_vacant])
    return filled


def test_split_sites_count_as_one_atom() -> None:
    """Li split over two half-filled sites 0.4 Angstrom apart is nearly the ordered crystal."""
    ordered = rock_salt(5.13, "Li", "Cl")
    sites = [
        (kind, site.frac_coords + shift, occupancy)
        for site in ordered
        for kind in [site.species_string]
        for shift, occupancy in (
            [([0.039, 0, 0], 0.5), ([-0.039, 0, 0], 0.5)] if kind == "Li" else [([0, 0, 0], 1.0)]
        )
    ]
    split = Structure(ordered.lattice, [{kind: p} for kind, _, p in sites], [xyz for _, xyz, _ in sites])
    assert split.composition == ordered.composition
    f, reference = sendek_features(split), sendek_features(ordered)
    for name in (
        "li_neighbour_count",
        "li_li_bonds_per_li",
        "li_bond_ionicity",
        "anion_coordination",
        "li_neighbour_count_std",
        "packing_fraction",
    ):
        assert f[name] == pytest.approx(reference[name], rel=1e-6, abs=1e-6), name
    assert f["li_li_distance_angstrom"] == pytest.approx(reference["li_li_distance_angstrom"], abs=0.3)


def test_ionic_radius_where_bonds_are_ionic() -> None:
    """In sparse LiF (no Li-Li contact within 4 Angstrom) the ionicity is 3.0: Shannon's crystal radii."""
    a = 6.0
    f = sendek_features(rock_salt(a, "Li", "F"))
    assert f["packing_fraction"] == pytest.approx(4 * (sphere(0.90) + sphere(1.19)) / a**3, rel=1e-6)


def test_without_lithium() -> None:
    result = sendek_features_with_reasons(rock_salt(4.2, "Mg", "O"))
    assert result.reasons["li_li_distance_angstrom"] == "no Li in the structure"
    assert isnan(result.values["path_width_angstrom"])
    assert isnan(result.values["bond_ionicity_ratio"])
    assert result.values["sublattice_bond_ionicity"] > 0
    assert set(result.reasons) == {name for name, value in result.values.items() if isnan(value)}


def test_lithium_alone() -> None:
    result = sendek_features_with_reasons(Structure(Lattice.cubic(3.5), ["Li", "Li"], [[0] * 3, [0.5] * 3]))
    assert result.reasons["sublattice_electronegativity"] == "no atom other than Li in the structure"
    assert result.values["li_li_distance_angstrom"] == pytest.approx(3.5 * sqrt(3) / 2)
    assert result.values["li_bond_ionicity"] == 0
    assert set(result.reasons) == {name for name, value in result.values.items() if isnan(value)}


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity for Ar")
def test_elements_without_electronegativity_are_named() -> None:
    result = sendek_features_with_reasons(rock_salt(6, "Li", "Ar"))
    assert result.reasons["li_bond_ionicity"] == "no electronegativity for Ar"
    assert result.values["li_neighbour_count"] == 6


def test_far_apart_atoms() -> None:
    result = sendek_features_with_reasons(Structure(Lattice.cubic(25), ["Li", "F"], [[0] * 3, [0.08, 0, 0]]))
    assert result.reasons["li_li_distance_angstrom"] == "no second Li within 20 Angstrom"
    assert result.values["li_anion_distance_angstrom"] == pytest.approx(2)


def test_dummy_atoms_are_named() -> None:
    with pytest.raises(DataError, match="dummy"):
        sendek_features(Structure(Lattice.cubic(4), ["X", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]))


@pytest.mark.mirror
def test_part_of_obelix(mirror) -> None:
    """Every tenth structure of OBELiX: finite and inside physical bounds."""
    import zipfile

    from sselib.materials.cif import read_cif

    with zipfile.ZipFile(mirror / "obelix" / "all_cifs.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".cif"))[::10]
        structures = [read_cif(archive.read(name).decode(), name=name) for name in names]
    for structure in structures:
        result = sendek_features_with_reasons(structure)
        if "Li" in structure.composition:
            assert result.reasons == {}
            assert 1.0 < result.values["li_anion_distance_angstrom"] < 12
            assert 0 < result.values["sublattice_packing_fraction"] < result.values["packing_fraction"] < 1
            assert 0 <= result.values["path_width_angstrom"] < 4
