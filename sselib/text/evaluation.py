"""Running text models under protocols: a checkpoint per split, costs, answers, copied training labels."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
import torch
import transformers
import xgboost
from scipy.stats import binomtest

from sselib.columns import Entry
from sselib.columns import Prediction as P
from sselib.progress import progress
from sselib.regression.evaluation import Case
from sselib.runfolder import write_whole
from sselib.text.answers import copied
from sselib.text.models import Predicted, TextData, TextModel, peak_memory_gib
from sselib.text.prompts import CASES, PromptSet, render_all
from sselib.validation.metrics import KEYS
from sselib.validation.splits import Split

FIRST_SPLITS = "_first_splits"  # data set of the splits on which the causal models took part too
_EXTRA = ["copied", "answered", "n_answers", "n_unparsed"]
_COST = ["seconds", "cpu_seconds", "memory_gib", "trainable"]


@dataclass(frozen=True)
class TextResults:
    """``predictions``: columns of `Prediction`. ``answers``: the same rows with copied, answered, n_answers,
    n_unparsed. ``costs``: a row per model, case and split with seconds, cpu_seconds, memory_gib, trainable.
    """

    predictions: pd.DataFrame
    answers: pd.DataFrame
    costs: pd.DataFrame

    def relabelled(self, dataset: str, *, splits: Mapping[str, Sequence[Split]]) -> "TextResults":
        """Return the rows of the given splits under another data set's name."""
        tables = (self.predictions, self.answers, self.costs)
        return TextResults(*(on_splits(t, splits).assign(**{P.DATASET: dataset}) for t in tables))


def evaluate_texts(
    models: Sequence[tuple[TextModel, Sequence[str]]],
    data: TextData,
    *,
    splits: Mapping[str, Sequence[Split]],
    parts: Path,
) -> TextResults:
    """Return the predictions of each model for each of its prompt cases under each protocol.

    ``models`` pairs a model with its cases, ``splits`` are by protocol. Each finished split is kept in
    ``parts`` under a hash of rows, labels, texts, splits, settings and library versions, so that an
    interrupted run goes on with the next one.
    """
    jobs = [
        (model, Case(data.dataset, model.name, case, protocol), split)
        for model, cases in models
        for case in cases
        for protocol, ones in splits.items()
        for split in ones
    ]
    frames = [_one_split(*job, data, parts) for job in progress(jobs, stage="text models under protocols")]
    rows = pd.concat(frames, ignore_index=True)
    keys = [*KEYS, P.REPEAT, P.FOLD]
    costs = rows.groupby(keys, sort=False)[_COST].first().reset_index()
    return TextResults(rows[[str(c) for c in P]], rows[[*keys, P.ID, *_EXTRA]], costs)


def _one_split(model: TextModel, case: Case, split: Split, data: TextData, parts: Path) -> pd.DataFrame:
    key = _fingerprint(model, case, split, data)
    name = f"{case.dataset}-{case.model}-{case.features}-{case.protocol}-{split.repeat}-{split.fold}-{key}"
    path = parts / f"{name.replace('/', '_')}.parquet"
    if path.is_file():
        return pd.read_parquet(path)
    wall, cpu = time.perf_counter(), time.process_time()
    predicted = model.fit_predict(data, split, case=case.features)
    cost = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "memory_gib": peak_memory_gib(),
        "trainable": predicted.trainable,
    }
    rows = _rows(data, split, predicted, case).assign(**cost)
    write_whole(path, lambda p: rows.to_parquet(p, index=False))
    return rows


def _fingerprint(model: TextModel, case: Case, split: Split, data: TextData) -> str:
    """Return 12 hexadecimal digits that change with anything that can change the predictions."""
    versions = (transformers.__version__, torch.__version__, sklearn.__version__, xgboost.__version__)
    fields = data.fields.to_csv()
    digest = hashlib.sha256(repr((model.signature, case, versions, data.groups)).encode())
    digest.update(fields.encode())
    for array in (data.y, split.train, split.test):
        digest.update(np.ascontiguousarray(array).tobytes() + b"|")
    return digest.hexdigest()[:12]


def _rows(data: TextData, split: Split, predicted: Predicted, case: Case) -> pd.DataFrame:
    """Return the columns of `Prediction` and the extra ones for the test rows of a split."""
    test = data.table.iloc[split.test]
    n = len(test)
    nothing, zero = np.full(n, np.nan), np.zeros(n, int)
    interval = [nothing if v is None else v for v in (predicted.lower, predicted.upper)]
    return pd.DataFrame(
        {
            P.ID: test[Entry.ID].to_numpy(),
            P.DATASET: case.dataset,
            P.MODEL: case.model,
            P.FEATURES: case.features,
            P.PROTOCOL: case.protocol,
            P.REPEAT: split.repeat,
            P.FOLD: split.fold,
            P.Y_TRUE: test[Entry.LOG10_SIGMA].to_numpy(float),
            P.CENSORED: test[Entry.CENSORED].to_numpy(bool),
            P.Y_PRED: predicted.y_pred,
            P.LOWER: interval[0],
            P.UPPER: interval[1],
            P.P_SUPERIONIC: nothing,
            "copied": copied(predicted.y_pred, data.y[split.train]),
            "answered": np.ones(n, bool) if predicted.answered is None else predicted.answered,
            "n_answers": zero if predicted.n_answers is None else predicted.n_answers,
            "n_unparsed": zero if predicted.n_unparsed is None else predicted.n_unparsed,
        }
    )


def on_splits(table: pd.DataFrame, splits: Mapping[str, Sequence[Split]]) -> pd.DataFrame:
    """Return the rows of a result that belong to the given splits."""
    wanted = {(s.protocol, s.repeat, s.fold) for ones in splits.values() for s in ones}
    keys = zip(table[P.PROTOCOL], table[P.REPEAT], table[P.FOLD], strict=True)
    return table[[k in wanted for k in keys]].reset_index(drop=True)


def share_records(answers: pd.DataFrame, *, seed: int) -> list[dict]:
    """Return records ``share_copied`` and ``share_unparsed`` with Wilson intervals (95 %).

    ``share_copied`` is over predictions: equal to a training label at three decimals. ``share_unparsed`` is
    over the texts that a causal model wrote.
    """
    records = []
    for key, rows in answers.groupby(KEYS, sort=False):
        named = dict(zip(KEYS, key, strict=True)) | {"unit": "1", "seed": seed}
        counts = {"share_copied": (int(rows["copied"].sum()), len(rows))}
        if rows["n_answers"].sum():
            counts["share_unparsed"] = (int(rows["n_unparsed"].sum()), int(rows["n_answers"].sum()))
        records += [named | {"metric": name, **_share(k, n)} for name, (k, n) in counts.items()]
    return records


def _share(k: int, n: int) -> dict[str, float | int]:
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return {"value": k / n, "ci_low": float(interval.low), "ci_high": float(interval.high), "n": n}


def example_prompts(data: TextData, *, prompts: Sequence[PromptSet], row: int = 0) -> pd.DataFrame:
    """Return the texts of one row in every case: a column per set of prompts, indexed by case."""
    one = data.fields.iloc[[row]]
    texts = {p.name: [render_all(one, prompts=p, case=c)[0] for c in CASES] for p in prompts}
    return pd.DataFrame(texts, index=pd.Index(CASES, name="case"))
