"""Structures of published candidates: the composition asked for, on the host's sites, no site overfull."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from sselib.errors import DataError
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.structures import structure_to_json
from sselib.screening.published_candidates import published_candidates
from sselib.screening.published_structures import (
    StructureType,
    by_route,
    nearest_host,
    published_structures,
    route_errors,
    route_sentence,
    structure_route,
    with_sites_of,
)
from sselib.screening.substitution import Host

# A perovskite with lithium on a part of the A sites stands for a type: A on 1a, B on 1b, X on 3c.
TYPE = StructureType(
    space_group=221,
    anion="O",
    anions=3,
    sites={"La": "A", "Sr": "A", "Ti": "B", "Nb": "B", "O": "X", "F": "X"},
)
HOST = Structure(
    Lattice.cubic(3.9),
    [{"Li": 0.3, "La": 0.5}, {"Ti": 0.5, "Nb": 0.5}, "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)


def off(structure: Structure, formula: str) -> float:
    first, second = element_fractions([structure.composition.formula, formula]).to_numpy()
    return l1_distances(first[None], second[None]).item()


@given(st.floats(0.05, 0.4), st.floats(0.1, 0.5), st.floats(0, 0.1), st.floats(0, 1), st.floats(0, 0.5))
def test_any_composition_of_the_type_is_met_on_the_sites_of_the_host(
    li: float, la: float, sr: float, nb: float, fluorine: float
) -> None:
    formula = f"Li{li:.4f}La{la:.4f}Sr{sr:.4f}Ti{1 - nb:.4f}Nb{nb:.4f}O{3 - fluorine:.4f}F{fluorine:.4f}"
    built = with_sites_of(HOST, formula, TYPE)
    assert off(built, formula) < 2e-3
    assert max(s.species.num_atoms for s in built) <= 1 + 1e-6
    assert len(built) == 5 and np.allclose(built.lattice.matrix, HOST.lattice.matrix)


def test_a_supercell_of_the_host_gives_the_same_occupancies() -> None:
    formula = "Li0.2La0.4Sr0.1Ti0.6Nb0.4O3"
    built = with_sites_of(HOST.make_supercell([2, 1, 1], in_place=False), formula, TYPE)
    assert len(built) == 10 and off(built, formula) < 1e-6


def test_vacancies_stay_and_more_atoms_than_sites_are_left_out() -> None:
    short = with_sites_of(HOST, "Li0.3La0.5TiO2.7", TYPE)
    assert short.composition["O"] == pytest.approx(2.7)
    long = with_sites_of(HOST, "Li0.3La0.5TiO3.3", TYPE)
    assert long.composition["O"] == pytest.approx(3.0) and off(long, "Li0.3La0.5TiO3.3") > 0.01


def test_an_element_without_a_site_is_named() -> None:
    with pytest.raises(DataError, match="Ga has no site"):
        with_sites_of(HOST, "Li0.3La0.5Ga0.1TiO3", TYPE)


def test_the_nearest_host_is_taken_and_ties_go_by_id() -> None:
    hosts = [Host(name, f, {}, None) for name, f in (("b", "LiCl"), ("a", "Li2Cl2"), ("c", "LiBr"))]
    assert nearest_host("Li1.1Cl", hosts).id == "a" and nearest_host("LiBr0.9", hosts).id == "c"


def garnet() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables with cubic Li7La3Zr2O12 in its own space group as the only labelled structure."""
    crystal = Structure.from_spacegroup(
        "Ia-3d",
        Lattice.cubic(12.97),
        [{"Li": 0.56}, {"Li": 0.44}, "La", "Zr", "O"],
        [[0.375, 0, 0.25], [0.097, 0.685, 0.577], [0.125, 0, 0.25], [0, 0, 0], [0.9681, 0.0551, 0.1498]],
    )
    row = {"id": "g", "structure_id": "g", "formula": "Li7La3Zr2O12", "space_group_number": 230}
    return pd.DataFrame([row]), pd.DataFrame(
        [{"structure_id": "g", "structure_json": structure_to_json(crystal)}]
    )


def test_the_measured_garnets_are_built_and_every_other_row_says_why_not() -> None:
    table, structures = garnet()
    built = published_structures(table, structures)
    assert [b.formula for b in built] == published_candidates()["formula"].tolist()
    there = {b.formula: b for b in built if b.structure}
    measured = published_candidates().dropna(subset="log10_measured")["formula"]
    assert len(there) == 5 and len(set(there) & set(measured)) == 4
    assert all(b.error_l1 < 0.01 and b.host_id == "g" for b in there.values())
    assert there["Li6.41La2.90Sr0.10Zr1.6Mo0.4O12"].error_l1 < 1e-3
    assert all(max(s.species.num_atoms for s in b.structure) <= 1 + 1e-6 for b in there.values())
    why = {b.formula: b.note for b in built if not b.structure}
    assert "licence" in why["Li9B19S33"] and "gallium" in why["Li6.43Ga0.52La2.67Zr2O12"]
    assert "no labelled structure of Li10GeP2S12" in why["Li9.9SnP2S11.9Cl0.1"] and all(why.values())


def test_the_table_of_the_structure_route_keeps_every_candidate() -> None:
    built = published_structures(*garnet())
    n = sum(b.structure is not None for b in built)
    scores = pd.DataFrame({"p_superionic": 0.5, "p_superionic_sd": 0.1, "d_training": 1.0}, index=range(n))
    sigma = pd.DataFrame({"log10_sigma": -4.0, "lower": -5.0, "upper": -3.0}, index=range(n))
    rows = structure_route(built, scores, sigma)
    assert len(rows) == 20 and rows["structure_p_superionic"].notna().sum() == n
    assert ((rows["why_not"] == "") == rows["structure_log10_sigma"].notna()).all()


def routes(models: str, *, structure_is_off_by: float) -> pd.DataFrame:
    """Return three candidates measured at -3, -4 and never; the formula route errs by 1 each time."""
    measured = np.array([-3.0, -4.0, np.nan])
    return pd.DataFrame(
        {
            "formula": ["a", "b", "c"],
            "models": models,
            "why_not": ["", "", ""],
            "log10_measured": measured,
            "nearest_log10_sigma": -3.0,
            "p_superionic": 0.4,
            "structure_p_superionic": 0.8,
        }
    ).assign(
        **{
            f"{prefix}{c}": measured + off
            for prefix, off in (("", 1.0), ("structure_", structure_is_off_by))
            for c in ("log10_sigma", "lower", "upper")
        }
    )


def test_errors_of_both_routes_by_hand_and_their_paired_difference() -> None:
    given = pd.concat([routes("saved", structure_is_off_by=1.5), routes("blind", structure_is_off_by=-0.5)])
    found = route_errors(given, n_bootstrap=50, seed=0).set_index(["models", "route"])
    assert found["mae"].loc["saved"].to_dict() == {
        "formula": 1.0,
        "structure": 1.5,
        "1nn": 0.5,
        "structure minus formula": 0.5,
    }
    assert (
        found.loc[("blind", "structure minus formula"), ["mae", "ci_low", "ci_high"]].tolist() == [-0.5] * 3
    )
    assert found.loc[("blind", "structure"), "mean_p"] == 0.8 and (found["n"] == 2).all()
    text = route_sentence(found.reset_index())
    assert "saved: 1.50 from the structure, 1.00 from the formula" in text and "-0.50 [-0.50, -0.50]" in text
    assert "excludes 0" in text and "So few compounds" in text
    assert sorted(set(by_route(given)["models"])) == [
        f"from the {r}, {m}" for r in ("formula", "structure") for m in ("blind", "saved")
    ]


def test_without_a_structure_there_are_no_errors_of_routes() -> None:
    given = routes("saved", structure_is_off_by=np.nan)
    assert route_errors(given, n_bootstrap=50, seed=0).empty
    assert "No measured candidate" in route_sentence(route_errors(given, n_bootstrap=50, seed=0))
