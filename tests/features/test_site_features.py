"""Site sets: layers, cache, rejects, invariance."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from sselib.errors import ParameterError  # noqa: E402
from sselib.features import megnet, site_features  # noqa: E402
from sselib.features.site_features import occupancies, pooled, site_sets  # noqa: E402

LICL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MIXED = Structure(Lattice.cubic(4), [{"Li": 0.3, "Na": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


class CountingParent:
    """Stands in for MEGNet: its layers are the atomic number, 1 to 4 times; counts how often it ran."""

    settings = SimpleNamespace(cutoff_angstrom=4.0)

    def __init__(self) -> None:
        self.n_calls = 0

    def site_features(self, graphs: megnet.CrystalGraphs) -> tuple[torch.Tensor, ...]:
        """Return four layers of one column."""
        self.n_calls += 1
        number = graphs.species @ torch.arange(megnet.N_ATOMIC_NUMBERS, dtype=torch.float32)
        return tuple(number[:, None] * k for k in (1, 2, 3, 4))


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> CountingParent:
    """Use the stand-in instead of the published weights."""
    model = CountingParent()
    monkeypatch.setattr(megnet, "load_megnet", lambda name: model)
    monkeypatch.setattr(megnet, "MODEL_FILES", {"any": "weights"})
    monkeypatch.setattr(site_features.registry, "locate", lambda key: SimpleNamespace(sha256=key))
    return model


def test_layers_stand_side_by_side_and_equal_sites_are_merged(parent: CountingParent, tmp_path: Path) -> None:
    found = site_sets({"a": LICL}, parent="any", layers=["V0", "V2", "occupancy"], cache_dir=tmp_path)
    assert found.sets["a"].features.tolist() == [[3, 9, 1, 1, 1], [17, 51, 0, 1, 1]]
    assert found.sets["a"].multiplicity.tolist() == [1, 1]  # of the primitive cell


def test_occupancies_tell_a_vacancy_from_a_mixture() -> None:
    assert np.allclose(occupancies(MIXED), [[0.3, 0.8, 2], [0, 1, 1]])


def test_a_failure_is_a_row_with_its_reason_and_the_rest_goes_on(
    parent: CountingParent, tmp_path: Path
) -> None:
    lawrencium = Structure(Lattice.cubic(4), ["Lr"], [[0, 0, 0]])
    only_li = Structure(Lattice.cubic(3.5), ["Li"], [[0, 0, 0]])
    large = LICL * (3, 3, 3)
    structures = {"unseen": lawrencium, "empty": only_li, "large": large, "fine": LICL}
    found = site_sets(structures, parent="any", representation="CAN", max_sites=200, cache_dir=tmp_path)
    reasons = dict(zip(found.rejects["id"], found.rejects["reason"], strict=True))
    assert list(found.sets) == ["fine"] and list(reasons) == ["unseen", "empty", "large"]
    assert "Lr" in reasons["unseen"] and "no atom remains" in reasons["empty"]
    assert "216 sites: expected at most 200" in reasons["large"]


def test_a_structure_without_lithium_is_treated_like_any_other(
    parent: CountingParent, tmp_path: Path
) -> None:
    nacl = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = site_sets({"a": nacl}, parent="any", layers=["V1", "occupancy"], cache_dir=tmp_path)
    assert found.rejects.empty and found.sets["a"].features[:, 1].tolist() == [0, 0]


def test_the_cache_is_used_and_depends_on_content(parent: CountingParent, tmp_path: Path) -> None:
    site_sets({"a": LICL}, parent="any", cache_dir=tmp_path)
    site_sets({"b": LICL}, parent="any", layers=["V3"], cache_dir=tmp_path)
    assert parent.n_calls == 1
    site_sets({"a": LICL}, parent="any", representation="CAN", cache_dir=tmp_path)
    strained = LICL.copy()
    strained.scale_lattice(LICL.volume * 1.1)
    site_sets({"a": strained}, parent="any", cache_dir=tmp_path)
    assert parent.n_calls == 3


def test_several_processes_keep_the_order(parent: CountingParent, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(site_features, "_CHUNK", 2)
    structures = {f"x:{k}": LICL * (1, 1, 1 + k % 2) for k in range(5)}
    structures["x:bad"] = Structure(Lattice.cubic(4), ["Li", "Lr"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = site_sets(structures, parent="any", cache_dir=tmp_path)
    assert list(found.sets) == [f"x:{k}" for k in range(5)] and found.rejects["id"].tolist() == ["x:bad"]


def test_an_unknown_layer_names_the_valid_ones() -> None:
    with pytest.raises(ParameterError, match="expected some of V0, V1"):
        site_sets({}, parent="any", layers=["v1"])


def test_pooling_weighs_by_multiplicity(parent: CountingParent, tmp_path: Path) -> None:
    three_to_one = Structure(
        Lattice.cubic(4), ["Li", "Cl", "Cl", "Cl"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    )
    sets = site_sets({"a": three_to_one}, parent="any", layers=["V0"], cache_dir=tmp_path).sets
    numbers = np.array([3, 17, 17, 17])
    assert np.allclose(pooled([sets["a"]]), [[numbers.mean(), numbers.std()]])


@pytest.mark.mirror
def test_published_weights_give_the_same_set_for_cell_and_supercell(mirror: Path, tmp_path: Path) -> None:
    structures = {"cell": MIXED, "supercell": MIXED * (2, 1, 2)}
    layers = ["V0", "V1", "V2", "V3", "occupancy"]
    found = site_sets(structures, parent="formation_energy", layers=layers, cache_dir=tmp_path)
    one, four = (pooled([found.sets[k]]) for k in structures)
    assert one.shape == (1, 2 * (16 + 3 * 32 + 3))
    assert np.allclose(one, four, atol=2e-3)
