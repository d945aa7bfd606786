"""The search: resumable, shared by processes, blind to other rows; choosing on held-out clusters flatters."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from sselib.atomsets.tuning import (
    SEARCH_SPACE,
    chosen_on_held_out,
    random_settings,
    search,
    settings_from,
)
from sselib.errors import ParameterError
from sselib.features.site_features import unique_sites


def some_sets(n: int = 36, *, seed: int = 0, noise: bool = False) -> tuple[list, np.ndarray]:
    """Sets of 3 sites; the label is the sign of the first feature, or chance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    y = (rng.uniform(size=n) > 0.5 if noise else X[:, 0] > 0).astype(int)
    return [unique_sites(np.vstack([x, 2 * x, x])) for x in X], y


def test_a_search_keeps_its_trials_and_goes_on(tmp_path: Path) -> None:
    sets, y = some_sets()
    options = {"storage": tmp_path / "a" / "trials.log", "max_epochs": 10, "n_best": 2}
    first = search(sets, y, np.arange(36), n_trials=2, **options)
    assert first.n_trials == 2
    again = search(sets, y, np.arange(36), n_trials=3, **options)
    assert again.n_trials == 3 and 1 <= len(again.settings) <= 2
    assert again.scores[0] >= first.scores[0]
    assert again.settings[0].max_epochs == 10
    done = search(sets, y, np.arange(36), n_trials=3, **options)
    assert done.scores == again.scores


@pytest.mark.slow
def test_two_processes_share_one_search(tmp_path: Path) -> None:
    sets, y = some_sets()
    found = search(
        sets, y, np.arange(36), n_trials=4, n_jobs=2, storage=tmp_path / "trials.log", max_epochs=10
    )
    assert found.n_trials == 4


def test_too_few_groups_are_refused(tmp_path: Path) -> None:
    sets, y = some_sets()
    with pytest.raises(ParameterError, match="too few to search"):
        search(sets, y, np.zeros(36), n_trials=1, storage=tmp_path / "trials.log")


def test_settings_follow_the_parameters_and_random_ones_repeat() -> None:
    found = {name: space[1][0] if space[0] == "choice" else space[0] for name, space in SEARCH_SPACE.items()}
    settings = settings_from(found | {"n_site_layers": 2, "site_width": 16, "batch_size": 32})
    assert settings.site_layers == (16, 16) and settings.batch_size == 32 and settings.dropout == 0.0
    assert random_settings(3, seed=1, max_epochs=5) == random_settings(3, seed=1, max_epochs=5)
    assert len(set(random_settings(3, seed=1, max_epochs=5))) == 3


def test_the_best_epoch_on_noise_looks_better_than_chance() -> None:
    sets, y = some_sets(40, noise=True)
    found = chosen_on_held_out(
        sets, y, np.arange(40) % 3 - 1, settings=random_settings(12, seed=0, max_epochs=8)
    )
    assert found["cluster"].tolist() == [0, 1] and (found["n_choices"] == 96).all()
    assert found["auc_pr"].mean() > y.mean() + 0.05  # nothing can be learnt here
