"""Running text models under protocols: results kept per split, costs, answers, copied training labels."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from sselib.columns import Entry
from sselib.columns import Prediction as P
from sselib.kept import kept_table
from sselib.progress import progress
from sselib.text.answers import copied
from sselib.text.models import TextData, TextModel, TextPrediction
from sselib.text.prompts import CASES, PromptSet, render_all
from sselib.validation.metrics import KEYS
from sselib.validation.splits import Split

FIRST_SPLITS = "_first_splits"  # data set of the splits on which the causal models took part too
PREDICTION = [str(c) for c in P]
_SPLIT = [P.PROTOCOL, P.REPEAT, P.FOLD]
ANSWERS = ["copied", "answered", "n_answers", "n_unparsed"]
COSTS = ["seconds", "cpu_seconds", "trainable"]
_TOLD = [Entry.ID, Entry.COMPOSITION, Entry.LOG10_SIGMA, Entry.CENSORED]  # columns that a result depends on


def evaluate_texts(
    models: Sequence[tuple[TextModel, Sequence[str]]],
    data: TextData,
    *,
    splits: Mapping[str, Sequence[Split]],
    parts: Path,
) -> pd.DataFrame:
    """Return one row per prediction of each model for each of its prompt cases under each protocol.

    Columns: those of `Prediction`; copied, answered, n_answers, n_unparsed of the row; seconds, cpu_seconds
    and trainable of its split. ``models`` pairs a model with its cases, ``splits`` are by
    protocol. Each finished split is kept in ``parts`` (`sselib.kept`), so that an interrupted run goes on
    with the next one.
    """
    all_splits = [split for ones in splits.values() for split in ones]
    jobs = [(model, case, split) for model, cases in models for case in cases for split in all_splits]
    done = [_one_split(*job, data, parts) for job in progress(jobs, stage="text models under protocols")]
    return pd.concat(done, ignore_index=True)


def with_writers(
    rows: pd.DataFrame,
    writers: Sequence[tuple[TextModel, Sequence[str]]],
    data: TextData,
    *,
    splits: Mapping[str, Sequence[Split]],
    parts: Path,
) -> pd.DataFrame:
    """Return ``rows`` with those of models that write, which may run on fewer ``splits`` than the others.

    If they do, all models stand on these splits once more, under the data set's name with `FIRST_SPLITS`.
    """
    if not writers:
        return rows
    both = pd.concat([rows, evaluate_texts(writers, data, splits=splits, parts=parts)], ignore_index=True)
    wanted = {(s.protocol, s.repeat, s.fold) for ones in splits.values() for s in ones}
    here = pd.MultiIndex.from_frame(both[_SPLIT]).isin(wanted)
    if here.all():
        return both
    return pd.concat([rows, both[here].assign(dataset=data.dataset + FIRST_SPLITS)], ignore_index=True)


def split_costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return seconds, processor seconds and trained parameters per model, case and split."""
    return rows.groupby([*KEYS, P.REPEAT, P.FOLD], sort=False)[COSTS].first().reset_index()


def _one_split(model: TextModel, case: str, split: Split, data: TextData, parts: Path) -> pd.DataFrame:
    def fitted() -> pd.DataFrame:
        """Fit, predict and note what it cost."""
        wall, cpu = time.perf_counter(), time.process_time()
        predicted = model.fit_predict(data, split, case=case)
        cost = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        rows = _rows(data, split, predicted, model=model.name, case=case)
        return rows.assign(**cost, trainable=predicted.trainable)

    key = (
        model.name,
        model.signature,
        case,
        data.dataset,
        data.fields,
        data.table[_TOLD],
        data.groups,
        split,
    )
    return kept_table(parts, key, fitted)


def _rows(data: TextData, split: Split, predicted: TextPrediction, *, model: str, case: str) -> pd.DataFrame:
    """Return the columns of `Prediction` and the extra ones for the test rows of a split."""
    test = data.table.iloc[split.test]
    return pd.DataFrame(
        {
            P.ID: test[Entry.ID].to_numpy(),
            P.DATASET: data.dataset,
            P.MODEL: model,
            P.FEATURES: case,
            P.PROTOCOL: split.protocol,
            P.REPEAT: split.repeat,
            P.FOLD: split.fold,
            P.Y_TRUE: test[Entry.LOG10_SIGMA].to_numpy(float),
            P.CENSORED: test[Entry.CENSORED].to_numpy(bool),
            P.Y_PRED: predicted.y_pred,
            P.LOWER: predicted.lower,
            P.UPPER: predicted.upper,
            P.P_SUPERIONIC: np.nan,
            "copied": copied(predicted.y_pred, data.y[split.train]),
            "answered": predicted.answered,
            "n_answers": predicted.n_answers,
            "n_unparsed": predicted.n_unparsed,
        }
    )


def share_records(rows: pd.DataFrame, *, seed: int) -> list[dict]:
    """Return records ``share_copied`` and ``share_unparsed`` with Wilson intervals (95 %).

    ``share_copied`` is over predictions: equal to a training label at three decimals. ``share_unparsed`` is
    over the texts that a causal model wrote.
    """
    records = []
    for key, found in rows.groupby(KEYS, sort=False):
        named = dict(zip(KEYS, key, strict=True)) | {"unit": "1", "seed": seed}
        counts = {"share_copied": (int(found["copied"].sum()), len(found))}
        if found["n_answers"].sum():
            counts["share_unparsed"] = (int(found["n_unparsed"].sum()), int(found["n_answers"].sum()))
        for name, (k, n) in counts.items():
            low, high = map(float, binomtest(k, n).proportion_ci(method="wilson"))
            records.append(named | {"metric": name, "value": k / n, "ci_low": low, "ci_high": high, "n": n})
    return records


def example_prompts(data: TextData, *, prompts: Sequence[PromptSet], row: int = 0) -> pd.DataFrame:
    """Return the texts of one row in every case: a column per set of prompts, indexed by case."""
    one = data.fields.iloc[[row]]
    texts = {p.name: [render_all(one, prompts=p, case=c)[0] for c in CASES] for p in prompts}
    return pd.DataFrame(texts, index=pd.Index(CASES, name="case"))
