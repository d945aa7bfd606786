"""Search of AtomSets settings with Optuna, and McHaffie et al.'s choice on the held-out clusters.

Their search: HyperOpt with asynchronous successive halving, 250 configurations a cluster (Digital Discovery
4, 1518 (2025), section 4.4). Its ranges are in a supplement that was not at hand; those below are ours and
enclose the fixed settings. Here TPE proposes, successive halving stops weak trials early, only the rows
that are given take part, and trials are kept in a file, so that several processes share a search and an
interrupted one goes on.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
import pandas as pd
from joblib import Parallel, delayed
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sklearn.model_selection import StratifiedGroupKFold

from sselib.atomsets.classification import auc_pr, mcc
from sselib.errors import ParameterError
from sselib.features.site_features import SiteSet
from sselib.progress import progress
from sselib.runfolder import write_whole

if TYPE_CHECKING:  # torch is an extra: this module must import without it
    from sselib.atomsets.network import AtomSetsSettings

N_FOLDS = 3
_CLUSTERS_AT_A_TIME = 6  # networks that train side by side, and are kept together
REPORT_EVERY = 10  # epochs between the scores that successive halving compares
_STUDY = "atomsets"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Parameter: choices, or lowest, highest, logarithmic.
SEARCH_SPACE: Mapping[str, tuple] = {
    "n_site_layers": (1, 3, False),
    "site_width": ("choice", (16, 32, 64, 128)),
    "readout_width": ("choice", (8, 16, 32, 64)),
    "readout_steps": (1, 4, False),
    "n_head_layers": (1, 2, False),
    "head_width": ("choice", (16, 32, 64)),
    "dropout": (0.0, 0.6, False),
    "weight_decay": (1.0e-5, 1.0e-1, True),
    "learning_rate": (2.0e-4, 1.0e-2, True),
    "batch_size": ("choice", (32, 64, 128)),
}


@dataclass(frozen=True)
class Search:
    """``settings`` from the best on, their ``scores`` (AUC-PR of the inner folds), trials run and stopped."""

    settings: "tuple[AtomSetsSettings, ...]"
    scores: tuple[float, ...]
    n_trials: int
    n_pruned: int


def search(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    groups: np.ndarray,
    *,
    n_trials: int,
    storage: Path,
    n_best: int = 10,
    max_epochs: int = 120,
    patience: int = 50,
    seed: int = 0,
    n_jobs: int = 1,
) -> Search:
    """Return the ``n_best`` settings of ``n_trials``, judged on grouped inner folds of the rows given.

    ``groups`` (n,): rows of one group share a fold. Trials lie in the file ``storage``; those that are there
    already count. Each of ``n_jobs`` processes takes its share. Raises `ParameterError` for too few groups.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folds = _folds(np.asarray(y, int), groups)
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    todo = n_trials - len(_study(storage, seed).get_trials(states=_FINISHED))
    shares = [todo // n_jobs + (k < todo % n_jobs) for k in range(n_jobs)] if todo > 0 else []
    work = Parallel(n_jobs, return_as="generator")(
        delayed(_work)(sets, y, folds, storage, share, max_epochs, seed + k) for k, share in enumerate(shares)
    )
    list(progress(work, stage="AtomSets search", total=len(shares)))
    return _summary(_study(storage, seed), n_best=n_best, max_epochs=max_epochs, patience=patience)


def _folds(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the fold of each row, shape (n,)."""
    if len(np.unique(groups)) < 2 * N_FOLDS or np.bincount(y, minlength=2).min() < N_FOLDS:
        raise ParameterError(
            f"{len(y)} rows in {len(np.unique(groups))} groups are too few to search on {N_FOLDS} folds"
        )
    fold = np.empty(len(y), dtype=int)
    splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=0)
    for k, (_, held) in enumerate(splitter.split(y, y, groups)):
        fold[held] = k
    return fold


def _study(storage: Path, seed: int) -> optuna.Study:
    return optuna.create_study(
        study_name=_STUDY,
        direction="maximize",
        load_if_exists=True,
        storage=JournalStorage(JournalFileBackend(str(storage))),
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3),
    )


def _work(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    folds: np.ndarray,
    storage: Path,
    n_trials: int,
    max_epochs: int,
    seed: int,
) -> None:
    """Run this process's share of the trials."""
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _study(storage, seed).optimize(
        lambda trial: _objective(trial, sets, np.asarray(y, int), folds, max_epochs), n_trials=n_trials
    )


def _objective(
    trial: optuna.Trial, sets: Sequence[SiteSet], y: np.ndarray, folds: np.ndarray, max_epochs: int
) -> float:
    """Return the best AUC-PR over the folds, pooled, that was seen at a report; all folds train in step."""
    from sselib.atomsets.training import Fit, epochs_of_many

    settings = replace(settings_from(_suggested(trial)), max_epochs=max_epochs)
    fits = [Fit(np.flatnonzero(folds != k), np.flatnonzero(folds == k), k) for k in range(folds.max() + 1)]
    found, best = np.empty(len(y)), 0.0
    for epoch, probabilities in enumerate(epochs_of_many(sets, y, fits, settings=settings), start=1):
        if epoch % REPORT_EVERY:
            continue
        for k, p in enumerate(probabilities):
            found[folds == k] = p
        best = max(best, float(auc_pr(y.astype(float), found, np.ones((len(y), 1)))[0]))
        trial.report(best, epoch // REPORT_EVERY)
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


def _suggested(trial: optuna.Trial) -> dict[str, float]:
    found = {}
    for name, space in SEARCH_SPACE.items():
        if space[0] == "choice":
            found[name] = trial.suggest_categorical(name, space[1])
        else:
            suggest = trial.suggest_int if isinstance(space[0], int) else trial.suggest_float
            found[name] = suggest(name, space[0], space[1], log=space[2])
    return found


def settings_from(found: Mapping[str, float]) -> "AtomSetsSettings":
    """Return the settings that a trial's parameters (keys of `SEARCH_SPACE`) stand for."""
    from sselib.atomsets.network import AtomSetsSettings

    own = {f.name for f in fields(AtomSetsSettings)}
    return AtomSetsSettings(
        site_layers=(int(found["site_width"]),) * int(found["n_site_layers"]),
        head_layers=(int(found["head_width"]),) * int(found["n_head_layers"]),
        **{name: value for name, value in found.items() if name in own},
    )


def random_settings(n: int, *, seed: int, max_epochs: int) -> "list[AtomSetsSettings]":
    """Return ``n`` settings drawn at random from `SEARCH_SPACE`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [replace(settings_from(_suggested(study.ask())), max_epochs=max_epochs) for _ in range(n)]


def network_settings(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    groups: np.ndarray,
    *,
    n_settings: int,
    n_trials: int,
    storage: Path,
    max_epochs: int,
    patience: int,
    seed: int = 0,
    n_jobs: int = 1,
) -> "tuple[AtomSetsSettings, ...]":
    """Return the settings of an ensemble: the best of a search, or without trials fixed ones.

    The fixed ones are the default and, after it, settings drawn at random from `SEARCH_SPACE`.
    """
    from sselib.atomsets.network import AtomSetsSettings

    if n_trials:
        return search(
            sets,
            y,
            groups,
            n_trials=n_trials,
            storage=storage,
            n_best=n_settings,
            max_epochs=max_epochs,
            patience=patience,
            seed=seed,
            n_jobs=n_jobs,
        ).settings
    fixed = [AtomSetsSettings(), *random_settings(n_settings - 1, seed=seed, max_epochs=max_epochs)]
    return tuple(replace(s, max_epochs=max_epochs, patience=patience) for s in fixed)


def _summary(study: optuna.Study, *, n_best: int, max_epochs: int, patience: int) -> Search:
    finished = study.get_trials(states=_FINISHED)
    complete = [t for t in finished if t.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda t: -t.value)[:n_best]
    return Search(
        settings=tuple(
            replace(settings_from(t.params), max_epochs=max_epochs, patience=patience) for t in best
        ),
        scores=tuple(float(t.value) for t in best),
        n_trials=len(finished),
        n_pruned=len(finished) - len(complete),
    )


def chosen_on_held_out(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    clusters: np.ndarray,
    *,
    settings: "Sequence[AtomSetsSettings]",
    seed: int = 0,
    n_jobs: int = 1,
    parts: Path | None = None,
) -> pd.DataFrame:
    """Return McHaffie et al.'s choice: per cluster the best epoch of the best settings, seen on the cluster.

    Columns: cluster, n, auc_pr, mcc (each the best of all settings and epochs) and n_choices. Such a number
    is no measure of a model, see `sselib.atomsets.classification.best_of_random`. Clusters of one class are
    left out. With a folder ``parts`` each finished training is kept there, so that an interrupted choice
    goes on where it stopped.
    """
    y = np.asarray(y, int)
    mixed = [c for c in sorted(set(clusters.tolist()) - {-1}) if len(set(y[clusters == c])) == 2]
    cases = [(c, s) for s in settings for c in mixed]
    path_of = _part_paths(parts, sets, y, seed)
    shares = np.array_split(np.array(mixed, int), -(-len(mixed) // _CLUSTERS_AT_A_TIME)) if mixed else []
    work = Parallel(n_jobs, return_as="generator")(
        delayed(_kept_best_epochs)(
            sets, y, [clusters == c for c in share], s, seed, [path_of(clusters == c, s) for c in share]
        )
        for s in settings
        for share in shares
    )
    scores = list(progress(chain.from_iterable(work), stage="choice on held-out clusters", total=len(cases)))
    rows = [(c, int((clusters == c).sum()), *s) for (c, _), s in zip(cases, scores, strict=True)]
    table = pd.DataFrame(rows, columns=["cluster", "n", "auc_pr", "mcc"])
    best = table.groupby(["cluster", "n"], as_index=False).max()
    return best.assign(n_choices=sum(s.max_epochs for s in settings))


def _part_paths(
    parts: Path | None, sets: Sequence[SiteSet], y: np.ndarray, seed: int
) -> "Callable[[np.ndarray, AtomSetsSettings], Path | None]":
    """Return what names the file of a training: a hash of data, held-out rows, settings, seed and code."""
    if parts is None:
        return lambda held, settings: None
    code = [Path(__file__).with_name(name).read_bytes() for name in ("network.py", "training.py")]
    common = hashlib.sha256(b"".join(code) + y.tobytes())
    for s in sets:
        common.update(np.ascontiguousarray(s.features).tobytes() + s.multiplicity.tobytes())

    def path_of(held: np.ndarray, settings: "AtomSetsSettings") -> Path:
        """Return the file of one choice, named after the rows held out, the settings and the seed."""
        own = common.copy()
        own.update(held.tobytes() + json.dumps([asdict(settings), seed]).encode())
        return parts / f"choice-{own.hexdigest()[:16]}.json"

    return path_of


def _kept_best_epochs(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    helds: Sequence[np.ndarray],
    settings: "AtomSetsSettings",
    seed: int,
    paths: Sequence[Path | None],
) -> list[tuple[float, float]]:
    """Return the scores of `_best_epochs` from the files that are there, else compute and keep them."""
    missing = [k for k, path in enumerate(paths) if not (path and path.is_file())]
    computed = _best_epochs(sets, y, [helds[k] for k in missing], settings, seed) if missing else []
    new = dict(zip(missing, computed, strict=True))
    for k, scores in new.items():
        if paths[k]:
            write_whole(paths[k], lambda p, s=scores: p.write_text(json.dumps(s), encoding="utf-8"))
    return [new[k] if k in new else tuple(json.loads(p.read_text("utf-8"))) for k, p in enumerate(paths)]


def _best_epochs(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    helds: Sequence[np.ndarray],
    settings: "AtomSetsSettings",
    seed: int,
) -> list[tuple[float, float]]:
    """Return, for each of ``helds``, the highest AUC-PR and the highest MCC of any epoch on those rows."""
    import torch

    from sselib.atomsets.training import Fit, epochs_of_many

    torch.set_num_threads(1)
    fits = [Fit(np.flatnonzero(~held), np.flatnonzero(held), seed) for held in helds]
    scores = [
        [_auc_pr_and_mcc(y[fit.held], p) for fit, p in zip(fits, probabilities, strict=True)]
        for probabilities in epochs_of_many(sets, y, fits, settings=settings)
    ]
    return [tuple(best) for best in np.max(scores, axis=0).tolist()]


def _auc_pr_and_mcc(y: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    ones, truth = np.ones((len(y), 1)), y.astype(float)
    return float(auc_pr(truth, p, ones)[0]), float(mcc(truth, p, ones)[0])
