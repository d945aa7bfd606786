"""Candidates from tables, CIFs and proposals: nothing lost, nothing twice, charges balanced."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice, Structure

from sselib.errors import DataError, ParameterError, SSEError
from sselib.materials.composition import element_fractions
from sselib.materials.oxidation import assign_oxidation_states
from sselib.materials.structures import structure_to_json, structures_by_id
from sselib.reporting.ranked_table import structure_to_cif
from sselib.screening.candidate_pool import candidate_pool
from sselib.screening.candidates import (
    Deduplicator,
    Material,
    checked,
    formula_of,
    formula_of_amounts,
    from_generated,
    from_inputs,
    from_materials_project,
    from_structure_table,
)
from sselib.screening.doping import Doping, doped, doped_structure, largest_void
from sselib.screening.substitution import (
    EXCLUDED,
    Host,
    hosts_from_table,
    ionic_radius_angstrom,
    partners,
    prototype_hosts,
    replaced,
    substituted,
)
from sselib.sources import reference


def rock_salt(cation: str = "Li", anion: str = "Cl") -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.13), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def spinel() -> Structure:
    """Li2MgCl4-like: Li on a tetrahedral site, Li and Mg mixed on the octahedral one."""
    sites = ["Li", {"Li": 0.5, "Mg": 0.5}, "Cl"]
    places = [[0.125] * 3, [0.5] * 3, [0.257] * 3]
    return Structure.from_spacegroup("Fd-3m:2", Lattice.cubic(10.4), sites, places)


def host(structure: Structure, states: dict[str, int]) -> Host:
    return Host("test:1", formula_of(structure), states, structure)


SPINEL = host(spinel(), {"Li": 1, "Mg": 2, "Cl": -1})


def curated() -> tuple[pd.DataFrame, dict[str, Structure]]:
    table = reference.load()
    return table.entries, structures_by_id(table.structures)


def l1(first: str, second: str) -> float:
    return float(np.abs(np.diff(element_fractions([first, second]).to_numpy(), axis=0)).sum())


def test_a_table_of_formulas_keeps_its_order_and_its_bad_rows(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,formula\na,Li6PS5Cl\nb,Li1-x\nc,NaCl\nd,\n", encoding="utf-8")
    found = list(from_inputs(path))
    assert [c.id for c in found] == ["own:a", "own:b", "own:c", "own:d"]
    assert [bool(c.problem) for c in found] == [False, True, True, True]
    assert "lithium" in found[2].problem


@pytest.mark.parametrize(("name", "text"), [("none.csv", None), ("other.csv", "x,y\n1,2\n")])
def test_a_table_that_cannot_serve_is_one_error(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SSEError, match=name):
        list(from_inputs(tmp_path / name))


def test_a_folder_of_cifs_keeps_going_after_a_bad_file(tmp_path):
    (tmp_path / "good.cif").write_text(structure_to_cif(spinel()), encoding="utf-8")
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 3", encoding="utf-8")
    (tmp_path / "sodium.CIF").write_text(structure_to_cif(rock_salt("Na")), encoding="utf-8")
    broken, good, sodium = from_inputs(tmp_path)
    assert broken.problem and "lithium" in sodium.problem and not good.problem
    assert l1(good.formula, "Li2MgCl4") < 1e-3 and len(good.structure()) == len(spinel())


def test_generated_structures_come_with_their_ids_or_one_message(tmp_path):
    with pytest.raises(DataError, match="run notebook 02 first"):
        list(from_generated(tmp_path))
    folder = tmp_path / "02_structure_generation"
    folder.mkdir()
    table = pd.DataFrame({"id": ["g1"], "structure_json": [structure_to_json(rock_salt())]})
    table.to_parquet(folder / "generated.parquet")
    (found,) = from_generated(tmp_path)
    assert found.id == "generated:g1" and found.formula == "LiCl" and len(found.structure()) == 8


def test_energies_above_the_hull_travel_along():
    table = pd.DataFrame(
        {
            "id": ["mp-1"],
            "structure_json": [structure_to_json(rock_salt())],
            "energy_above_hull_ev_atom": [0.02],
        }
    )
    (found,) = from_structure_table(table, source="materials_project")
    assert found.energy_above_hull_ev_atom == 0.02


def test_the_materials_project_without_a_key_says_what_to_do(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(DataError, match="MP_API_KEY"):
        next(from_materials_project())


@given(
    st.dictionaries(st.sampled_from(["Li", "La", "Zr", "O", "P", "S", "Cl"]), st.floats(0.01, 40), min_size=1)
)
def test_formula_text_reads_back(amounts):
    again = Composition(formula_of_amounts(amounts)).get_el_amt_dict()
    assert all(again.get(el, 0) == pytest.approx(x, abs=6e-4) for el, x in amounts.items())


def test_formula_of_does_not_depend_on_the_cell():
    assert formula_of(rock_salt()) == formula_of(rock_salt().get_primitive_structure()) == "LiCl"
    assert formula_of(spinel().get_primitive_structure()) == formula_of(spinel())


def test_repeats_are_held_back_and_counted():
    drop = Deduplicator()
    stream = [checked(Material(str(k), f, "x")) for k, f in enumerate(["LiCl", "Li2Cl2", "LiBr", "?", "?"])]
    assert [c.id for c in drop(stream)] == ["0", "2", "3", "4"]
    assert drop.n_dropped == 1


def test_polymorphs_of_the_users_stay():
    dense = rock_salt()
    wide = dense.copy()
    wide.scale_lattice(dense.volume * 1.1)
    stream = [
        Material("a", "LiCl", "x", structure=lambda: dense),
        Material("b", "LiCl", "x", structure=lambda: wide),
    ]
    assert len(list(Deduplicator(by_structure=True)(stream))) == 2
    assert len(list(Deduplicator()(stream))) == 1


def test_partners_keep_sign_and_charge_and_leave_out_lithium():
    for symbol, state in (("Ge", 4), ("S", -2), ("La", 3)):
        found = partners(symbol, state, shift=0, threshold=0.005)
        assert found and all(p >= 0.005 for _, p in found)
        assert not {s for s, _ in found} & {"Li", symbol, *EXCLUDED}
        assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    assert partners("Cl", -1, shift=2, threshold=0.0) == ()  # an anion is not replaced by a cation
    assert "Si" in dict(partners("Ge", 4, shift=0, threshold=0.005))


def test_substitutions_are_balanced_probable_and_built_as_their_formula_says():
    found = list(substituted([SPINEL], threshold=0.01))
    assert found and len({c.formula for c in found}) == len(found)
    for c in found:
        assert c.probability >= 0.01 and c.formula != SPINEL.formula
        assert assign_oxidation_states(c.formula).imbalance_per_atom < 1e-6
        assert l1(c.formula, formula_of(c.structure())) < 1e-3
    assert any(c.change == "Cl→Br" for c in found)


def test_a_higher_threshold_gives_a_subset():
    low = {c.id for c in substituted([SPINEL], threshold=0.01)}
    high = {c.id for c in substituted([SPINEL], threshold=0.05)}
    assert high < low


def test_larger_ions_make_a_larger_cell():
    assert ionic_radius_angstrom("Br", -1) > ionic_radius_angstrom("Cl", -1)
    states = {"Li": 1, "Cl": -1}
    assert replaced(rock_salt(), {"Cl": "Br"}, states).volume > rock_salt().volume
    assert replaced(rock_salt(), {"Cl": "F"}, states).volume < rock_salt().volume


def test_prototypes_hold_lithium_in_place_of_an_ion_like_it():
    hosts = prototype_hosts()
    assert len(hosts) > 10
    for h in hosts:
        assert Composition(h.formula)["Li"] > 0 and h.states["Li"] == 1 and 0 < h.probability <= 1
        assert bool(h.change) == (h.probability < 1)


def test_hosts_of_the_reference_set_are_read():
    hosts = list(hosts_from_table(*curated()))
    assert len(hosts) > 20
    assert all(l1(h.formula, formula_of(h.structure)) < 0.01 for h in hosts)


def test_doping_moves_lithium_by_the_charge():
    found = {c.change: c for c in doped([SPINEL], fractions=[0.1], threshold=0.001)}
    up = next(c for change, c in found.items() if change.endswith("Li vacancies") and "Mg→" in change)
    down = next(c for change, c in found.items() if change.endswith("Li interstitials"))
    assert Composition(up.formula)["Li"] / Composition(up.formula)["Cl"] < 0.5
    assert Composition(down.formula)["Li"] / Composition(down.formula)["Cl"] > 0.5
    assert all(assign_oxidation_states(c.formula).imbalance_per_atom < 0.05 for c in found.values())


def test_vacancies_are_shared_by_all_lithium_sites():
    crystal = doped_structure(SPINEL, Doping("Mg", "Al", 0.2, 1))
    before = spinel()
    factors = {
        round(float(s.species["Li"] / b.species["Li"]), 6)
        for s, b in zip(crystal, before, strict=True)
        if b.species["Li"] > 0
    }
    assert len(factors) == 1 and factors.pop() < 1
    assert crystal.composition["Al"] == pytest.approx(0.2 * before.composition["Mg"])


def test_interstitials_fill_partly_empty_sites_first():
    half = Structure.from_spacegroup(
        "Fd-3m:2",
        Lattice.cubic(10.4),
        [{"Li": 0.5}, {"Li": 0.5, "Mg": 0.5}, "Cl"],
        [[0.125] * 3, [0.5] * 3, [0.257] * 3],
    )
    crystal = doped_structure(host(half, {"Li": 1, "Mg": 2, "Cl": -1}), Doping("Mg", "Na", 0.1, -1))
    assert len(crystal) == len(half)
    assert crystal.composition["Li"] == pytest.approx(half.composition["Li"] + 0.1 * half.composition["Mg"])
    assert all(site.species.num_atoms <= 1 + 1e-9 for site in crystal)


def test_interstitials_go_into_the_largest_void_of_a_full_cell():
    crystal = doped_structure(host(rock_salt("Li", "Cl"), {"Li": 1, "Cl": -1}), Doping("Cl", "S", 0.1, -1))
    added = crystal[8:]
    assert crystal.composition["Li"] == pytest.approx(4.4) and len(added) == 8
    assert max(np.abs(s.frac_coords % 0.5 - 0.25).max() for s in added) < 0.05  # the tetrahedral sites


def test_no_room_for_lithium_is_an_error_with_its_reason():
    tight = rock_salt("Li", "F")
    tight.scale_lattice(3.0**3)
    with pytest.raises(DataError, match="no room"):
        doped_structure(host(tight, {"Li": 1, "F": -1}), Doping("F", "O", 0.2, -1))


def test_largest_void_of_rock_salt_is_the_tetrahedral_site():
    point, clearance = largest_void(rock_salt())
    assert clearance == pytest.approx(5.13 * np.sqrt(3) / 4, abs=0.2)
    assert np.abs(point % 0.5 - 0.25).max() < 0.05


def test_the_pool_repeats_itself_and_names_what_it_lacks(tmp_path):
    table, crystals = curated()
    settings = {"min_probability_substitution": 0.1, "min_probability_doping": 0.1}
    pool = candidate_pool(
        ["substitution", "doping", "generated", "own"],
        table=table,
        crystals=crystals,
        run=tmp_path,
        **settings,
    )
    first, second = list(pool), list(pool)
    assert [c.id for c in first] == [c.id for c in second] and len(first) > 20
    assert len({c.id for c in first}) == len(first)
    assert set(pool.missing) == {"generated", "own"} and "own_inputs" in pool.missing["own"]


def test_unknown_sources_are_named(tmp_path):
    table, crystals = curated()
    options = {"table": table, "crystals": crystals, "run": Path(tmp_path)}
    with pytest.raises(ParameterError, match="Did you mean 'substitution'"):
        candidate_pool(["substitutions"], **options)
    with pytest.raises(ParameterError, match="no source"):
        candidate_pool(["generated"], **options)
