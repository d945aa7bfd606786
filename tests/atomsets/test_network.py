"""AtomSets: what must not change the output, and that it learns what a set of sites can tell."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from sselib.atomsets.network import AtomSetsSettings, WeightedSet2Set  # noqa: E402
from sselib.atomsets.training import fit_atomsets  # noqa: E402
from sselib.errors import ParameterError  # noqa: E402
from sselib.features.site_features import SiteSet, unique_sites  # noqa: E402

QUICK = AtomSetsSettings(
    site_layers=(16,), readout_width=8, head_layers=(8,), dropout=0.0, learning_rate=1.0e-2, max_epochs=40
)


def some_sets(n: int, *, seed: int = 0) -> tuple[list[SiteSet], np.ndarray]:
    """Sets of 2 to 9 sites with 3 features; the label is whether the mean of the first is positive."""
    rng = np.random.default_rng(seed)
    sites = [
        rng.normal(size=(rng.integers(2, 10), 3)) + np.array([rng.choice([-1, 1]), 0, 0]) for _ in range(n)
    ]
    return [unique_sites(s) for s in sites], np.array([s[:, 0].mean() > 0 for s in sites], float)


def test_equal_sites_become_one_with_its_multiplicity() -> None:
    merged = unique_sites(np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0], [1.0, 2.00000001]]))
    assert merged.features.tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert merged.multiplicity.tolist() == [1.0, 3.0]


def test_readout_counts_a_row_as_often_as_its_multiplicity_says() -> None:
    torch.manual_seed(0)
    pool = WeightedSet2Set(4, 5, steps=3)
    x = torch.randn(3, 4)
    index = torch.zeros(3, dtype=torch.long)
    weighted = pool(x, torch.tensor([1.0, 2.0, 3.0]), index, 1)
    repeated = x.repeat_interleave(torch.tensor([1, 2, 3]), dim=0)
    plain = pool(repeated, torch.ones(6), torch.zeros(6, dtype=torch.long), 1)
    assert torch.allclose(weighted, plain, atol=1e-6)


def test_readout_depends_on_neither_order_nor_neighbours_in_the_batch() -> None:
    torch.manual_seed(0)
    pool = WeightedSet2Set(4, 5, steps=2)
    first, second = torch.randn(3, 4), torch.randn(2, 4)
    alone = pool(first, torch.ones(3), torch.zeros(3, dtype=torch.long), 1)
    rows, index = torch.cat([second, first[[2, 0, 1]]]), torch.tensor([1, 1, 0, 0, 0])
    assert torch.allclose(pool(rows, torch.ones(5), index, 2)[0], alone[0], atol=1e-6)


def test_probability_of_a_supercell_is_that_of_the_cell() -> None:
    sets, labels = some_sets(60)
    fitted = fit_atomsets(sets, labels, inner=np.arange(60) % 5 == 0, settings=QUICK, seed=0)
    doubled = [SiteSet(s.features, 2 * s.multiplicity) for s in sets]
    assert np.allclose(fitted.probability(doubled), fitted.probability(sets), atol=1e-6)


def test_learns_a_mean_over_sites_and_repeats_with_the_seed() -> None:
    sets, labels = some_sets(160)
    inner = np.arange(120) % 5 == 0
    fits = [fit_atomsets(sets[:120], labels[:120], inner=inner, settings=QUICK, seed=3) for _ in range(2)]
    first, second = (fit.probability(sets[120:]) for fit in fits)
    assert np.array_equal(first, second)
    assert ((first > 0.5) == (labels[120:] == 1)).mean() > 0.85


def test_shuffled_labels_teach_nothing() -> None:
    sets, labels = some_sets(160)
    shuffled = np.random.default_rng(1).permutation(labels)
    fitted = fit_atomsets(sets[:120], shuffled[:120], inner=np.arange(120) % 5 == 0, settings=QUICK, seed=0)
    assert ((fitted.probability(sets[120:]) > 0.5) == (labels[120:] == 1)).mean() < 0.85


def test_one_class_only_is_refused() -> None:
    sets, _ = some_sets(20)
    with pytest.raises(ParameterError, match="one class only"):
        fit_atomsets(sets, np.ones(20), inner=np.arange(20) % 5 == 0, settings=QUICK, seed=0)
