"""Bayesian search of gradient-boosting settings over the parameters of Kim et al.'s Table 1.

Kim et al. minimise the mean squared error of a 6-fold cross-validation with scikit-optimize; their
ranges are not published, so those below are ours and enclose their result. Here Optuna's TPE sampler
searches, its first trial is their result, and only training rows take part.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GroupKFold, KFold

from sselib.regression.kim import kim_settings
from sselib.regression.models import DEFAULT_OPTIONS, ModelOptions, make_model
from sselib.threads import in_threads

if TYPE_CHECKING:
    import optuna

N_FOLDS = 6  # Kim et al., section II
# Parameter: lowest, highest, logarithmic.
SEARCH_SPACE: Mapping[str, tuple[float, float, bool]] = {
    "n_estimators": (50, 500, False),
    "reg_lambda": (0.1, 50.0, True),
    "reg_alpha": (0.01, 10.0, True),
    "max_depth": (3, 10, False),
    "num_parallel_tree": (1, 10, False),
    "min_child_weight": (1, 10, False),
    "subsample": (0.5, 1.0, False),
    "learning_rate": (0.01, 0.3, True),
    "gamma": (0.001, 1.0, True),
}


@dataclass(frozen=True)
class Tuning:
    """Outcome of a search: settings found, their cross-validated error, that of Kim's settings, trials."""

    settings: Mapping[str, float]
    mse: float  # mean squared error, (log10 S/cm)^2
    mse_kim: float
    n_trials: int


def tune(
    X: np.ndarray,
    y: np.ndarray,
    *,
    n_trials: int,
    groups: np.ndarray | None,
    seed: int = 0,
    n_jobs: int = 1,
    options: ModelOptions = DEFAULT_OPTIONS,
    storage: Path | None = None,
) -> Tuning:
    """Search ``n_trials`` settings by 6-fold cross-validation on training rows.

    ``X`` has shape (n, features), ``y`` (n,) in log10(S/cm). Rows of one of ``groups`` share a fold, so
    that near-duplicates do not flatter deep trees; None gives Kim et al.'s plain folds. Trials are kept
    in the file ``storage``: a search that was interrupted goes on where it stopped.
    """
    import optuna  # here and not above, so that who only predicts does not wait for it
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folds = _folds(X, groups, seed=seed)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    study = optuna.create_study(
        study_name="xgb",
        direction="minimize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        storage=JournalStorage(JournalFileBackend(str(storage))) if storage else None,
    )
    if not study.trials:
        study.enqueue_trial(kim_settings())
    done = len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
    study.optimize(
        lambda t: _cross_validated_mse(_suggest(t), X, y, folds, options=options, seed=seed, n_jobs=n_jobs),
        n_trials=max(0, n_trials - done),
    )
    trials = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return Tuning(
        settings=study.best_params, mse=study.best_value, mse_kim=trials[0].value, n_trials=len(trials)
    )


def _folds(X: np.ndarray, groups: np.ndarray | None, *, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    if groups is None or len(np.unique(groups)) < N_FOLDS:
        return list(KFold(N_FOLDS, shuffle=True, random_state=seed).split(X))
    return list(GroupKFold(N_FOLDS).split(X, groups=groups))


def _suggest(trial: "optuna.Trial") -> dict[str, float]:
    settings = {}
    for name, (low, high, log) in SEARCH_SPACE.items():
        suggest = trial.suggest_int if isinstance(low, int) else trial.suggest_float
        settings[name] = suggest(name, low, high, log=log)
    return settings


def _cross_validated_mse(
    settings: Mapping[str, float],
    X: np.ndarray,
    y: np.ndarray,
    folds: list,
    *,
    options: ModelOptions,
    seed: int,
    n_jobs: int,
) -> float:
    """Return the mean over folds of the mean squared error, (log10 S/cm)^2."""
    tuned = ModelOptions(max_bin=options.max_bin, tuned=settings)

    def score(train: np.ndarray, test: np.ndarray) -> float:
        """Return the mean squared error of one fold."""
        model = make_model("xgb_tuned", options=tuned, seed=seed).fit(X[train], y[train])
        return mean_squared_error(y[test], model.predict(X[test]))

    return float(np.mean(in_threads(score, folds, n_jobs=n_jobs)))
