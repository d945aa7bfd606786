"""Training side by side gives what training one by one gives, and what plain PyTorch gives."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from test_network import some_sets  # noqa: E402

from sselib.atomsets import training  # noqa: E402
from sselib.atomsets.network import AtomSets, AtomSetsSettings, scaled_features, scaling  # noqa: E402
from sselib.atomsets.training import Fit, epochs_of_many, fit_many  # noqa: E402
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


def some_fits(n: int, numbers: range) -> list[Fit]:
    """Fits of different rows, different numbers of rows and batches, and different seeds."""
    rng = np.random.default_rng(5)
    orders = [rng.permutation(n)[: n - 7 * k] for k in numbers]
    return [Fit(order[12:], order[:12], seed) for order, seed in zip(orders, numbers, strict=True)]


def test_side_by_side_is_one_by_one() -> None:
    sets, labels = some_sets(90)
    fits = some_fits(90, range(5))
    together = fit_many(sets, labels, fits, settings=SETTINGS)
    alone = [fit_many(sets, labels, [fit], settings=SETTINGS)[0] for fit in fits]
    assert [f.epoch for f in together] == [f.epoch for f in alone]
    assert len({f.epoch for f in together}) > 1  # they stop at different times, and their places are freed
    for a, b in zip(together, alone, strict=True):
        assert np.allclose(a.probability(sets), b.probability(sets), atol=1e-4)


def test_a_queue_longer_than_the_batch_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, labels = some_sets(90)
    fits = some_fits(90, range(5))
    wide = fit_many(sets, labels, fits, settings=SETTINGS)
    monkeypatch.setattr(training, "SIDE_BY_SIDE", 2)
    narrow = fit_many(sets, labels, fits, settings=SETTINGS)
    for a, b in zip(wide, narrow, strict=True):
        assert np.allclose(a.probability(sets), b.probability(sets), atol=1e-4)


def plain_training(sets: list, labels: np.ndarray, fit: Fit, settings: AtomSetsSettings) -> np.ndarray:
    """Return P of the held rows after the last epoch, from `AtomSets` itself and nothing of `training`."""
    mean, scale = scaling([sets[i] for i in fit.rows])
    torch.manual_seed(fit.seed)
    model, rng = AtomSets(len(mean), settings), np.random.default_rng(fit.seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )

    def logits(rows: np.ndarray) -> torch.Tensor:
        own = [sets[i] for i in rows]
        features = np.concatenate([scaled_features(s.features, mean, scale) for s in own])
        multiplicity = np.concatenate([s.multiplicity for s in own])
        index = np.repeat(np.arange(len(own)), [len(s.multiplicity) for s in own])
        return model(*(torch.from_numpy(a) for a in (features, multiplicity, index)), len(own))

    target = torch.as_tensor(labels, dtype=torch.float32)
    positive = labels[fit.rows].sum()
    loss_of = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor((len(fit.rows) - positive) / positive))
    for _ in range(settings.max_epochs):
        order = rng.permutation(fit.rows)
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            optimiser.zero_grad()
            loss_of(logits(rows), target[rows]).backward()
            optimiser.step()
    with torch.no_grad():
        return torch.sigmoid(logits(fit.held)).numpy()


@pytest.mark.parametrize("readout_steps", [1, 3])
def test_side_by_side_is_plain_pytorch(readout_steps: int) -> None:
    sets, labels = some_sets(90)
    fits = some_fits(90, range(3))
    settings = AtomSetsSettings(
        **{
            **vars(SETTINGS),
            "dropout": 0.0,
            "max_epochs": 6,
            "weight_decay": 0.1,
            "readout_steps": readout_steps,
        }
    )
    *_, last = epochs_of_many(sets, labels, fits, settings=settings)
    for fit, found in zip(fits, last, strict=True):
        assert np.allclose(found, plain_training(sets, labels, fit, settings), atol=1e-4)


def test_dropout_drops_the_share_it_should_and_keeps_the_mean() -> None:
    sets, labels = some_sets(90)
    member = training._Member(training._Sites(sets), labels, some_fits(90, range(1))[0], SETTINGS, 0)
    kept = np.concatenate([member.kept((200, 50), 0.3) for _ in range(20)])
    assert kept.mean() == pytest.approx(0.7, abs=0.005)  # four standard errors of 200,000 draws
    assert kept.mean(axis=0).std() == pytest.approx(np.sqrt(0.21 / 4000), rel=0.5)  # columns are alike


def test_training_leaves_the_global_random_state_alone() -> None:
    sets, labels = some_sets(40)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    fit_many(sets, labels, some_fits(40, range(1)), settings=SETTINGS)
    assert torch.equal(before, torch.get_rng_state())


def test_one_fit_of_several_with_one_class_is_refused() -> None:
    sets, labels = some_sets(40)
    good = some_fits(40, range(1))[0]
    with pytest.raises(ParameterError, match="stopping part has one class only"):
        bad = Fit(good.rows, np.flatnonzero(labels == 1), 0)
        fit_many(sets, labels, [good, bad], settings=SETTINGS)
