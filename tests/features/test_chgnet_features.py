"""CHGNet's atom features: its own numbers on ordered crystals, disorder, and what must not change them."""

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

pytest.importorskip("chgnet", reason="chgnet is not installed: pip install -e '.[atomsets]'")

from sselib.errors import DataError
from sselib.features import chgnet_features
from sselib.features.chgnet_features import chgnet_layers, load_chgnet
from sselib.features.megnet import StructureNotSupportedError
from sselib.features.representations import primitive_cell
from sselib.features.site_features import pooled, site_sets

PEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)
LICL = Structure(
    Lattice(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.565), ["Li", "Cl"], [[0] * 3, [0.5] * 3]
)


def test_ordered_crystals_have_the_features_of_chgnet_itself() -> None:
    own = load_chgnet().predict_structure(PEROVSKITE, return_atom_feas=True)["atom_fea"]
    assert np.allclose(chgnet_layers(PEROVSKITE)["V3"], own, atol=1e-4)  # up to 13, in float32


def test_features_follow_the_order_of_sites_and_ignore_rotation() -> None:
    order = [4, 2, 0, 1, 3]
    moved = Structure.from_sites([PEROVSKITE[k] for k in order])
    turned = Structure(
        Lattice.from_parameters(*PEROVSKITE.lattice.parameters),
        PEROVSKITE.species,
        PEROVSKITE.frac_coords + 0.3,
    )
    first, second, third = (chgnet_layers(s) for s in (PEROVSKITE, moved, turned))
    for layer in first:
        assert np.allclose(first[layer][order], second[layer], atol=1e-4)
        assert np.allclose(first[layer], third[layer], atol=1e-4)


def test_a_mixed_site_lies_between_its_elements_and_a_vacancy_adds_nothing() -> None:
    def embedding(species: dict[str, float]) -> np.ndarray:
        return chgnet_layers(Structure(LICL.lattice, [species, "Cl"], LICL.frac_coords))["V0"][0]

    lithium, sodium = embedding({"Li": 1}), embedding({"Na": 1})
    assert np.allclose(embedding({"Li": 0.25, "Na": 0.75}), 0.25 * lithium + 0.75 * sodium, atol=1e-6)
    assert np.allclose(embedding({"Li": 0.5}), 0.5 * lithium, atol=1e-6)


def test_the_primitive_cell_keeps_occupancies_and_features(tmp_path: Path) -> None:
    mixed = Structure(LICL.lattice, [{"Li": 0.5, "Na": 0.5}, "Cl"], LICL.frac_coords)
    large = mixed * (2, 2, 1)
    small = primitive_cell(large)
    assert len(small) == 2 and small.composition.almost_equals(mixed.composition)
    found = site_sets(
        {"a": mixed, "b": large}, parent="chgnet", layers=["V2", "occupancy"], cache_dir=tmp_path
    )
    assert np.allclose(*pooled([found.sets["a"], found.sets["b"]]), atol=1e-3)


def test_split_sites_do_not_see_each_other_and_odd_structures_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Structure(
        LICL.lattice, [{"Li": 0.5}, {"Li": 0.5}, "Cl"], [[0, 0, 0], [0.03, 0.03, 0.03], [0.5, 0.5, 0.5]]
    )
    assert all(np.isfinite(values).all() for values in chgnet_layers(split).values())
    alone = Structure(Lattice.cubic(30), ["Li"], [[0, 0, 0]])
    assert np.isfinite(chgnet_layers(alone)["V4"]).all()
    with pytest.raises(StructureNotSupportedError, match="Lr"):
        chgnet_layers(Structure(Lattice.cubic(4), ["Lr"], [[0, 0, 0]]))
    monkeypatch.setattr(chgnet_features, "_MAX_ANGLES", 100)
    with pytest.raises(DataError, match="bond angles: expected at most 100"):
        chgnet_layers(PEROVSKITE)
    rejects = site_sets({"x": split * (9, 9, 9)}, parent="chgnet", max_sites=500, cache_dir=tmp_path).rejects
    assert "2187 sites" in rejects["reason"][0]
