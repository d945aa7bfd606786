"""Comparison of parents, layers and representations: same rows, same folds, controls beside every case."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from test_superionic_model import FakeParent  # noqa: E402

from sselib.atomsets.classifiers import ClassifierSettings, Inputs  # noqa: E402
from sselib.atomsets.representation_grid import Case, compare_representations, grid_cases, grid_inputs  # noqa: E402
from sselib.errors import ParameterError  # noqa: E402
from sselib.features import megnet, site_features  # noqa: E402
from sselib.features.site_features import layer_columns, layer_names  # noqa: E402
from sselib.plots.classifiers import representation_grid as drawn  # noqa: E402
from sselib.validation.clusters import Clusters  # noqa: E402

N = 40


class WideParent(FakeParent):
    """The stand-in with the widths of MEGNet's layers; the first column alone tells the classes apart."""

    def site_features(self, graphs: megnet.CrystalGraphs) -> tuple[torch.Tensor, ...]:
        """Return 16 columns and three times 32."""
        found = super().site_features(graphs)
        return tuple(f[:, :1].repeat(1, w) * k for k, (f, w) in enumerate(zip(found, (16, 32, 32, 32)), 1))


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(megnet, "load_megnet", lambda name: WideParent())
    monkeypatch.setattr(site_features, "_weights_sha256", lambda name: "weights")
    monkeypatch.setenv("SSE_CACHE", str(tmp_path / "cache"))


def crystal(k: int) -> Structure:
    """CsCl cells of LiO (odd) or LiI (even); number 7 holds lithium only, so CAN leaves nothing of it."""
    other = "Li" if k == 7 else "O" if k % 2 else "I"
    return Structure(Lattice.cubic(3 + k / 50), ["Li", other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def some_inputs() -> tuple[Inputs, dict[str, Structure]]:
    y = np.arange(N) % 2
    ids = [f"x:{k:02d}" for k in range(N)]
    table = pd.DataFrame(
        {"id": ids, "composition": "Li2O", "log10_sigma": np.where(y, -3.0, -7.0), "superionic": y == 1}
    )
    noise = np.random.default_rng(0).normal(size=(N, 3))
    matrices = {"composition": noise, "all": noise, "none": np.zeros((N, 1))}
    inputs = Inputs(table, y, matrices, {"v1": [None] * N}, np.arange(N))
    return inputs, {i: crystal(k) for k, i in enumerate(ids)}


def compared(representations: list[str], **options: object) -> object:
    inputs, structures = some_inputs()
    labels = np.arange(N) // 10 - 1
    return compare_representations(
        inputs,
        structures,
        parents=["formation_energy", ""],
        representations=representations,
        clusters={0: Clusters(labels, np.zeros((N, 2)))},
        dataset="x",
        settings=ClassifierSettings(n_jobs=1, max_epochs=3, patience=3),
        n_bootstrap=20,
        **options,
    )


def test_every_layer_of_every_representation_has_both_metrics_and_controls(parent: None) -> None:
    found = compared(["CAMN", "CAN"], network_layers=["V1"])
    counts = found.table.groupby(["model", "protocol", "metric"]).size()
    assert (counts["logistic"] == 8).all() and (counts["atomsets"] == 2).all()
    assert all((counts[c] == 1).all() for c in ("mean", "1nn", "shuffled"))
    assert found.rejects["id"].tolist() == ["x:07"] and "CAN" in found.rejects["reason"][0]
    kfold = found.table[found.table["protocol"] == "kfold5"]
    assert (kfold["n"] == N - 1).all()  # the row that one case cannot use is left out for all
    best = kfold[(kfold["model"] == "logistic") & (kfold["metric"] == "auc_pr")]
    assert best["value"].min() > 0.99  # O and I are told apart by every layer
    assert "best MEGNet" in found.sentence() and "best control" in found.sentence()
    assert found.wide("mcc").shape == (13, 2)
    assert {t.name for t in drawn(found.table).data if t.showlegend} == {
        "MEGNet CAMN", "MEGNet CAN",
        "MEGNet CAMN AtomSets", "MEGNet CAN AtomSets",
    }  # fmt: skip


def test_a_case_sees_the_columns_of_its_own_layer(parent: None) -> None:
    inputs, structures = some_inputs()
    cases = [Case("formation_energy", "CAMN", layer) for layer in ("V0", "V3")]
    grid = grid_inputs(inputs, structures, cases)
    widths = [grid.inputs.sets[c.name][0].features.shape[1] for c in cases]
    assert widths == [16, 32]
    first, last = (grid.inputs.matrices[c.name][0] for c in cases)
    assert last[0] == pytest.approx(16 * first[0])  # 4 in the stand-in's own layers, 4 in the factor above


def test_without_site_features_or_representations_the_reason_is_given(parent: None) -> None:
    assert "no representation is named" in compared([]).sentence()
    inputs, structures = some_inputs()
    bare = Inputs(inputs.table, inputs.y, inputs.matrices, {}, inputs.duplicates)
    none = compare_representations(
        bare, structures, parents=["formation_energy"], representations=["CAMN"], clusters={}, dataset="x",
        settings=ClassifierSettings(),
    )  # fmt: skip
    assert "no parent model" in none.sentence() and none.wide("mcc").empty
    with pytest.raises(ParameterError, match="CAMM"):
        grid_cases(["formation_energy"], ["CAMM"])


@pytest.mark.parametrize("name", ["formation_energy", "chgnet"])
def test_the_columns_of_the_layers_follow_each_other(name: str) -> None:
    columns = layer_columns(name)
    assert list(columns) == list(layer_names(name))
    ends = [0, *(c.stop for c in columns.values())]
    assert [c.start for c in columns.values()] == ends[:-1]


def disordered(cation: str) -> Structure:
    """Return a cell of LiX with half of its lithium replaced by nothing, and one more cation."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]]
    return Structure(Lattice.cubic(4.2), [{"Li": 0.5}, "O", cation], sites)


def test_chgnet_goes_through_the_grid_in_all_four_representations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Real weights: same rows, every layer, and the physics of each representation."""
    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    inputs, _ = some_inputs()
    inputs = Inputs(inputs.table[:3], inputs.y[:3], {}, {"v1": [None] * 3}, inputs.duplicates[:3])
    structures = {"x:00": disordered("Mg"), "x:01": disordered("Ca"), "x:02": disordered("P")}
    cases = grid_cases(["chgnet"], ["CAMN", "CAN", "CAMNS", "CANS"])
    assert len(cases) == 4 * 5
    found = grid_inputs(inputs, structures, cases).inputs
    assert all(m.shape == (3, 128) for m in found.matrices.values())
    for case in cases:
        magnesium, calcium, _ = found.matrices[case.name]
        same = np.allclose(magnesium, calcium, atol=1e-4)
        assert same == case.representation.endswith("S")  # only the stand-ins make them one
        n_sites = found.sets[case.name][0].multiplicity.sum()
        assert n_sites == (3 if case.representation.startswith("CAM") else 2)  # the lithium site is gone
    with_lithium, without = (found.matrices[f"chgnet V1 {r}"][0] for r in ("CAMN", "CAN"))
    assert not np.allclose(with_lithium, without, atol=1e-3)


def test_several_processes_give_the_same_site_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_features, "_CHUNK", 2)
    structures = {f"x:{k}": disordered("Mg") * (1, 1, 1 + k % 2) for k in range(6)}
    structures["x:bad"] = Structure(Lattice.cubic(4), ["Li", "Lr"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    one, two = (
        site_features.site_sets(structures, parent="chgnet", cache_dir=tmp_path / str(n), n_jobs=n)
        for n in (1, 2)
    )
    assert list(one.sets) == list(two.sets) and one.rejects.equals(two.rejects)
    assert one.rejects["id"].tolist() == ["x:bad"]
    means = [site_features.pooled([f.sets[k] for k in one.sets]) for f in (one, two)]
    assert np.allclose(*means, atol=1e-3)
