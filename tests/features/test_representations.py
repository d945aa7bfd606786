"""CAMN, CAN, CAMNS and CANS on ordered and disordered structures."""

import pytest
from pymatgen.core import Composition, Lattice, Structure

from sselib.errors import DataError, ParameterError
from sselib.features.representations import Representation, simplify


def llto() -> Structure:
    """Return a perovskite with Li, La and vacancies on one site, and two cations on another."""
    return Structure(
        Lattice.cubic(3.87),
        [{"Li": 0.3, "La": 0.5}, {"Ti": 0.75, "Nb": 0.25}, "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )


def species(structure: Structure) -> list[dict[str, float]]:
    return [site.species.as_dict() for site in structure]


def test_camn_keeps_every_atom() -> None:
    assert species(simplify(llto(), representation="CAMN")) == species(llto())


def test_can_removes_only_lithium() -> None:
    result = simplify(llto(), representation="CAN")
    assert species(result)[0] == {"La": 0.5}
    assert result.composition == llto().composition - Composition("Li0.3")


def test_camns_merges_cations_and_keeps_vacancies() -> None:
    result = simplify(llto(), representation="CAMNS")
    assert species(result) == [{"Li": 0.3, "Al": 0.5}, {"Al": 1.0}, {"S": 1.0}, {"S": 1.0}, {"S": 1.0}]
    assert result.composition.num_atoms == pytest.approx(llto().composition.num_atoms)


def test_cans_is_camns_without_lithium() -> None:
    result = simplify(llto(), representation="CANS")
    assert species(result) == [{"Al": 0.5}, {"Al": 1.0}, {"S": 1.0}, {"S": 1.0}, {"S": 1.0}]
    assert result.lattice == llto().lattice


def test_sites_that_only_lithium_holds_are_dropped() -> None:
    li2o = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.62), ["Li", "O"], [[0.25] * 3, [0, 0, 0]])
    result = simplify(li2o, representation="CANS")
    assert result.composition == Composition("S4")
    assert (result.frac_coords == li2o.frac_coords[[s.species_string == "O" for s in li2o]]).all()


def test_mixed_anions_become_one_species() -> None:
    argyrodite = Structure(
        Lattice.cubic(9.8),
        ["Li", "P", {"S": 0.6, "Cl": 0.4}, {"S": 0.5, "Cl": 0.4}],
        [[0.2, 0, 0], [0.5, 0, 0], [0, 0, 0], [0.25, 0.25, 0.25]],
    )
    result = species(simplify(argyrodite, representation="CAMNS"))
    assert result[2:] == [{"S": 1.0}, {"S": pytest.approx(0.9)}]


def test_neutral_atoms_become_magnesium() -> None:
    alloy = Structure(Lattice.cubic(3), ["Li", "In"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert simplify(alloy, representation="CAMNS").composition == Composition("LiMg")


def test_states_given_in_the_structure_win_over_the_composition() -> None:
    amidoborane = Structure(
        Lattice.cubic(6),
        ["Li+", "N3-", "H+", "B3+", "H-"],
        [[0, 0, 0], [0.5, 0, 0], [0.5, 0.2, 0], [0, 0.5, 0.5], [0, 0.5, 0.7]],
    )
    names = [site.species_string for site in simplify(amidoborane, representation="CAMNS")]
    assert names == ["Li", "S", "Al", "Al", "S"]


def test_states_that_are_all_zero_count_as_not_given() -> None:
    salt = Structure(Lattice.cubic(4), ["Li0+", "Cl0+"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert simplify(salt, representation="CAMNS").composition == Composition("LiS")


def test_another_mobile_ion() -> None:
    nasicon = Structure(Lattice.cubic(5), [{"Na": 0.5, "Li": 0.2}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert species(simplify(nasicon, representation="CAMNS", mobile_ion="Na"))[0] == {"Na": 0.5, "Al": 0.2}
    assert species(simplify(nasicon, representation="CAN", mobile_ion="Na"))[0] == {"Li": 0.2}


def test_isotopes_become_their_element() -> None:
    deuteride = Structure(Lattice.cubic(4), ["Li", "D"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert simplify(deuteride, representation="CAMN").composition == Composition("LiH")


def test_the_input_is_not_changed() -> None:
    structure = llto()
    simplify(structure, representation="CANS")
    assert structure == llto()


def test_merged_occupancies_never_exceed_one() -> None:
    cations = {"Ti": 1 / 3, "Zr": 1 / 3, "Nb": 1 / 3}
    thirds = Structure(Lattice.cubic(4), [cations, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert species(simplify(thirds, representation="CANS"))[0] == {"Al": pytest.approx(1)}


def test_nothing_left_is_an_error() -> None:
    lithium = Structure(Lattice.cubic(3.5), ["Li", {"Li": 0.5}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for name in ("CAN", "CANS"):
        with pytest.raises(DataError, match="no atom remains of Li"):
            simplify(lithium, representation=name)
    assert len(simplify(lithium, representation="CAMNS")) == 2


def test_unusable_input_is_named() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'CAMNS'"):
        simplify(llto(), representation="camns")
    with pytest.raises(ParameterError, match="mobile ion Mg"):
        simplify(llto(), representation="CAMNS", mobile_ion="Mg")
    dummy = Structure(Lattice.cubic(4), ["X", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(DataError, match="dummy"):
        simplify(dummy, representation="CAMN")


@pytest.mark.mirror
def test_obelix_keeps_its_atoms(mirror) -> None:
    import zipfile

    from sselib.materials.cif import read_cif

    with zipfile.ZipFile(mirror / "obelix" / "all_cifs.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".cif"))[::4]
        structures = [read_cif(archive.read(name).decode(), name=name) for name in names]
    assert len(structures) == 81
    for structure in structures:
        total, lithium = structure.composition.num_atoms, structure.composition["Li"]
        for kind in Representation:
            result = simplify(structure, representation=kind).composition
            expected = total if kind in (Representation.CAMN, Representation.CAMNS) else total - lithium
            assert result.num_atoms == pytest.approx(expected)
            assert kind in (Representation.CAMN, Representation.CAN) or {el.symbol for el in result} <= {
                "Li",
                "Al",
                "S",
                "Mg",
            }
