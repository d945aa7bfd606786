"""Ordering: whole atoms, lowest Ewald energy, what fails is counted, the comparison on equal versions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.atomsets import ordering
from sselib.atomsets.ordering import (
    NEEDS_NO_ORDERING,
    ORDERED,
    compare_ordered,
    order_all,
    ordered_structure,
)
from sselib.plots.classifiers import ordered_or_not

FCC = Lattice(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.1)


def test_a_mixed_sublattice_becomes_whole_atoms_of_the_same_composition() -> None:
    mixed = Structure(
        Lattice.tetragonal(4.0, 8.2),
        [{"Mg": 0.5, "Ca": 0.5}] * 2 + ["O"] * 2,
        [[0, 0, 0], [0, 0, 0.51], [0.5, 0.5, 0.25], [0.5, 0.5, 0.75]],
    )
    found = ordered_structure(mixed)
    assert found.is_ordered and found.composition.reduced_formula == "CaMgO2"


def test_the_mobile_ion_goes_and_an_ordered_framework_stays() -> None:
    licl = Structure(FCC, [{"Li": 0.7}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert ordered_structure(licl).composition.formula == "Cl1"


def test_unlike_charges_alternate() -> None:
    """Two +3 and two +1 cations in a row of four: the Ewald energy keeps like charges apart."""
    chain = Structure(
        Lattice.orthorhombic(12.0, 12.0, 10.0),
        [{"Al": 0.5, "Na": 0.5}] * 4 + ["O"] * 4,
        [[0, 0, z] for z in (0, 0.2501, 0.5, 0.7501)] + [[0.15, 0, z] for z in (0, 0.2501, 0.5, 0.7501)],
    )
    found = ordered_structure(chain)
    along = sorted((s.frac_coords[2] % 0.999, s.specie.symbol) for s in found if s.specie.symbol != "O")
    assert [symbol for _, symbol in along] in (["Al", "Na"] * 2, ["Na", "Al"] * 2, ["Al", "Na"], ["Na", "Al"])


def test_failures_are_counted_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    licl = Structure(FCC, ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    only_li = Structure(FCC, ["Li"], [[0, 0, 0]])
    found, outcomes = order_all({"a": licl, "b": only_li}, parts=tmp_path)
    again, same = order_all({"a": licl, "b": only_li}, parts=tmp_path)
    assert same.equals(outcomes) and again == found
    assert list(found) == ["a"] and outcomes["outcome"][0] == NEEDS_NO_ORDERING
    assert "no atom remains" in outcomes["outcome"][1]


def test_equal_versions_show_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "id": [f"x:{k}" for k in range(30)],
            "superionic": np.arange(30) % 2 == 0,
            "material_group": np.arange(30),
        }
    )
    features = {
        i: rng.normal(size=(1, 3)) + 3 * s for i, s in zip(table["id"], table["superionic"], strict=True)
    }
    sets = {i: SimpleNamespace(features=x, multiplicity=np.ones(1)) for i, x in features.items()}
    monkeypatch.setattr(ordering, "site_sets", lambda *a, **k: SimpleNamespace(sets=sets))
    crystals = dict.fromkeys(table["id"], Structure(FCC, ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    found = compare_ordered(table, crystals, parent="any", n_structures=30, n_bootstrap=20)
    assert found.delta == (0.0, 0.0, 0.0) and "no clear difference" in found.sentence()
    assert found.scores.groupby("metric")["value"].min()["auc_pr"] > 0.8
    assert (found.scores["ci_low"] <= found.scores["value"]).all() and len(found.scores) == 4
    assert found.counts()[["outcome", "rows"]].to_numpy().tolist() == [["ordered already", 30]]
    figure = ordered_or_not(found.scores)
    assert [len(t.x) for t in figure.data] == [2, 2] and figure.layout.yaxis.title.text
    none = compare_ordered(table, crystals, parent="", n_structures=30)
    assert none.counts().empty and "Too few" in none.sentence()
    few = compare_ordered(table, crystals, parent="any", n_structures=3)
    assert few.scores.empty and "Too few" in few.sentence()
    assert ORDERED not in set(found.outcomes["outcome"])
