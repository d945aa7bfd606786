"""Choosing on held-out clusters flatters, choosing on the others does not; finished trainings are kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from sselib.atomsets import tuning
from sselib.atomsets.tuning import choose_by_clusters, random_settings
from sselib.features.site_features import unique_sites


def noise(n: int = 60, *, seed: int = 0) -> tuple[list, np.ndarray]:
    """Sets of 3 sites whose label is chance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return [unique_sites(np.vstack([x, 2 * x, x])) for x in X], (rng.uniform(size=n) > 0.5).astype(int)


def mean_auc(ways: dict, words: str) -> float:
    """The mean AUC-PR over clusters of the way whose features end with these words."""
    return next(table["auc_pr"].mean() for (_, text), (_, table) in ways.items() if text.endswith(words))


def test_random_settings_repeat_and_differ() -> None:
    assert random_settings(3, seed=1, max_epochs=5) == random_settings(3, seed=1, max_epochs=5)
    assert len(set(random_settings(3, seed=1, max_epochs=5))) == 3


def test_on_noise_only_the_choice_on_the_cluster_looks_better_than_chance() -> None:
    sets, y = noise()
    settings = random_settings(4, seed=0, max_epochs=8)
    ways = choose_by_clusters(sets, y, np.arange(60) % 4 - 1, settings=settings)
    n_choices, table = next(iter(ways.values()))
    assert n_choices == 32 and table["cluster"].tolist() == [0, 1, 2] and (table["n"] == 15).all()
    assert mean_auc(ways, "chosen on the cluster") > y.mean() + 0.1  # nothing can be learnt here
    assert mean_auc(ways, "chosen on the other clusters") < mean_auc(ways, "chosen on the cluster")
    assert [n for (model, _), (n, _) in ways.items() if model == "random"] == [32, 4, 250]


def test_the_score_of_a_cluster_does_not_choose_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoch 0 is best on cluster 0, epoch 1 on the others."""
    scores = np.array([[[0.9, 0.9], [0.1, 0.1]], [[0.2, 0.2], [0.8, 0.8]], [[0.3, 0.3], [0.7, 0.7]]])
    monkeypatch.setattr(tuning, "_scores", lambda *_: scores)
    y, clusters = np.arange(12) % 2, np.arange(12) // 4
    ways = choose_by_clusters([], y, clusters, settings=random_settings(1, seed=0, max_epochs=2))
    tables = [table["auc_pr"].tolist() for _, table in list(ways.values())[:2]]
    assert tables == [[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]]


def test_without_settings_only_chance_is_there_and_what_is_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, y = noise(20)
    clusters = np.arange(20) % 2
    assert [model for model, _ in choose_by_clusters(sets, y, clusters, settings=[])] == ["random"]
    settings = random_settings(1, seed=0, max_epochs=2)
    first = choose_by_clusters(sets, y, clusters, settings=settings, parts=tmp_path)
    monkeypatch.setattr(tuning, "_epochs", None)  # nothing may be trained again
    again = choose_by_clusters(sets, y, clusters, settings=settings, parts=tmp_path)
    for (_, one), (_, other) in zip(first.values(), again.values(), strict=True):
        pd.testing.assert_frame_equal(one, other)
