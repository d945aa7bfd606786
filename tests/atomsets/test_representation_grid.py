"""Comparison of layers and representations: same rows, same folds, controls beside every case."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from sselib.atomsets.classifiers import ClassifierInputs, ClassifierSettings  # noqa: E402
from sselib.atomsets.representation_grid import RepresentationComparison, compare_representations  # noqa: E402
from sselib.errors import ParameterError  # noqa: E402
from sselib.features import megnet, site_features  # noqa: E402
from sselib.validation.clusters import Clusters  # noqa: E402

N = 40


class WideParent:
    """Stands in for MEGNet, with the widths of its layers; they hold the atomic number, 1 to 4 times."""

    settings = SimpleNamespace(cutoff_angstrom=4.0)

    def site_features(self, graphs: megnet.CrystalGraphs) -> tuple[torch.Tensor, ...]:
        """Return 16 columns and three times 32."""
        number = graphs.species @ torch.arange(megnet.N_ATOMIC_NUMBERS, dtype=torch.float32)
        return tuple(number[:, None].repeat(1, w) * k for k, w in enumerate((16, 32, 32, 32), 1))


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(megnet, "load_megnet", lambda name: WideParent())
    monkeypatch.setattr(megnet, "MODEL_FILES", {"any": "weights"})
    monkeypatch.setattr(site_features.registry, "locate", lambda key: SimpleNamespace(sha256=key))
    monkeypatch.setenv("SSE_CACHE", str(tmp_path / "cache"))


def crystal(k: int) -> Structure:
    """CsCl cells of LiO (odd) or LiI (even); number 7 holds lithium only, so CAN leaves nothing of it."""
    other = "Li" if k == 7 else "O" if k % 2 else "I"
    return Structure(Lattice.cubic(3 + k / 50), ["Li", other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def compared(
    representations: list[str], *, parent: str = "any", **options: object
) -> RepresentationComparison:
    y, ids = np.arange(N) % 2, [f"x:{k:02d}" for k in range(N)]
    table = pd.DataFrame(
        {"id": ids, "composition": "Li2O", "log10_sigma": np.where(y, -3.0, -7.0), "superionic": y == 1}
    )
    noise = np.random.default_rng(0).normal(size=(N, 3))
    matrices = {"composition": noise, "composition and structure": noise, "none": np.zeros((N, 1))}
    return compare_representations(
        ClassifierInputs(table, y, matrices, {}, np.arange(N)),
        {i: crystal(k) for k, i in enumerate(ids)},
        parent=parent,
        representations=representations,
        clusters={0: Clusters(np.arange(N) // 10 - 1, np.zeros((N, 2)))},
        dataset="x",
        settings=ClassifierSettings(n_jobs=1, n_members=1, max_epochs=3, patience=3),
        n_bootstrap=20,
        **options,
    )


def test_every_layer_of_every_representation_has_both_metrics_and_controls(parent: None) -> None:
    found = compared(["CAMN", "CAN"], network_layers=["V1"])
    counts = found.table.groupby(["model", "protocol", "metric"]).size()
    assert (counts["logistic regression"] == 8).all() and (counts["AtomSets"] == 2).all()
    assert all((counts[c] == 1).all() for c in ("mean", "1nn", "shuffled"))
    assert found.rejects["id"].tolist() == ["x:07"] and "CAN" in found.rejects["reason"][0]
    kfold = found.table[found.table["protocol"] == "kfold5"]
    assert (kfold["n"] == N - 1).all()  # the row that one case cannot use is left out for all
    best = kfold[(kfold["model"] == "logistic regression") & (kfold["metric"] == "auc_pr")]
    assert best["value"].min() > 0.99  # O and I are told apart by every layer
    assert sorted(set(best["layer"])) == ["V0", "V1", "V2", "V3"]
    assert "best of 10 cases" in found.sentence() and found.wide("mcc").shape == (13, 2)


def test_without_a_parent_or_a_representation_nothing_is_compared() -> None:
    for found in (compared([]), compared(["CAMN"], parent="")):
        assert "were not compared" in found.sentence() and found.wide("mcc").empty
    with pytest.raises(ParameterError, match="CAMM"):
        compared(["CAMM"])
    with pytest.raises(ParameterError, match="V7"):
        compared(["CAMN"], network_layers=["V7"])
