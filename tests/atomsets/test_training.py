"""Training follows its recipe: weights of the best epoch, a start from other weights, no global state."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from test_network import some_sets  # noqa: E402

from sselib.atomsets.network import AtomSetsSettings  # noqa: E402
from sselib.atomsets.training import fit_atomsets, train  # noqa: E402
from sselib.errors import ParameterError  # noqa: E402

SETTINGS = AtomSetsSettings(
    site_layers=(12, 8),
    readout_width=6,
    head_layers=(5,),
    batch_size=16,
    learning_rate=1.0e-2,
    max_epochs=12,
    patience=4,
)
INNER = np.arange(90) % 5 == 0


def held_loss(network: object, sets: list, labels: np.ndarray) -> float:
    """The class-weighted cross entropy of the rows held back, computed anew."""
    p = network.probability([s for s, own in zip(sets, INNER, strict=True) if own]).astype(float)
    y, weight = labels[INNER], (labels[~INNER] == 0).sum() / labels[~INNER].sum()
    return float(-(weight * y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    sets, labels = some_sets(90)
    losses = [
        held_loss(network, sets, labels)
        for network in train(sets, labels, rows=~INNER, settings=SETTINGS, seed=0)
    ]
    fitted = fit_atomsets(sets, labels, inner=INNER, settings=SETTINGS, seed=0)
    until = losses[: fitted.epoch + SETTINGS.patience + 1]
    assert fitted.epoch == int(np.argmin(until)) and len(losses) == SETTINGS.max_epochs
    assert held_loss(fitted, sets, labels) == pytest.approx(min(until), abs=1e-5)


def test_a_start_gives_the_first_weights_and_the_scaling() -> None:
    sets, labels = some_sets(90)
    first = fit_atomsets(sets, labels, inner=INNER, settings=SETTINGS, seed=0)
    still = AtomSetsSettings(**{**vars(SETTINGS), "learning_rate": 0.0, "weight_decay": 0.0})
    again = fit_atomsets(sets[::-1], labels[::-1], inner=INNER, settings=still, seed=5, start=first)
    assert np.allclose(again.probability(sets), first.probability(sets)) and (again.mean == first.mean).all()


def test_training_leaves_the_global_random_state_alone() -> None:
    sets, labels = some_sets(90)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    fit_atomsets(sets, labels, inner=INNER, settings=SETTINGS, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_stopping_part_with_one_class_is_refused() -> None:
    sets, labels = some_sets(90)
    with pytest.raises(ParameterError, match="stopping part has one class only"):
        fit_atomsets(sets, labels, inner=(labels == 1) & (np.arange(90) < 40), settings=SETTINGS, seed=0)
