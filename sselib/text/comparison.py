"""What notebook 05 sets side by side: rows and splits, models on the same information, their scores."""

from collections.abc import Iterable, Sequence

import pandas as pd

from sselib import schemas
from sselib.columns import CONTROL_PREFIX, CONTROLS
from sselib.columns import Prediction as P
from sselib.notebook import curated_rows
from sselib.regression.evaluation import bootstrap_groups, datasets
from sselib.runfolder import RunFolder
from sselib.text.controls import SYMMETRY_ALONE
from sselib.text.encoder import TextEncoder, TuneSettings
from sselib.text.evaluation import PREDICTION, share_records
from sselib.text.models import NGRAMS, TREES, Control, EncoderModel, TextData, TextModel, text_data
from sselib.text.prompts import CASES, PromptSet
from sselib.validation.metrics import metrics_from_predictions
from sselib.validation.splits import Split, fold_sizes, protocol_splits, why_unavailable


def read_text_data(run: RunFolder) -> TextData:
    """Return the first data set of notebook 04 (OBELiX where it is there) with its prompt fields."""
    structures = run.read_table("01_curation", "structures")
    schemas.validate(structures, schemas.STRUCTURES, what="structures.parquet")
    dataset, table = next(iter(datasets(curated_rows(run)).items()))
    return text_data(dataset, table, structures)


def text_splits(
    data: TextData, protocols: Sequence[str], *, seed: int, repeats: int
) -> tuple[dict[str, list[Split]], pd.DataFrame]:
    """Return the splits by protocol, those of notebook 04 with the same seed, and a table of their sizes.

    A protocol that the rows do not allow has no splits, and its reason in the column left_out.
    """
    why = {p: why_unavailable(p, data.table) for p in protocols}
    possible = {
        p: protocol_splits(p, data.table, seed=seed, repeats=repeats) for p in protocols if not why[p]
    }
    sizes = fold_sizes([s for ones in possible.values() for s in ones]).groupby("protocol", sort=False)
    table = sizes.agg(
        splits=("fold", "size"),
        smallest_test=("n_test", "min"),
        smallest_training=("n_train", "min"),
        tested=("n_test", "sum"),
    )
    return possible, table.reindex(list(protocols)).assign(left_out=pd.Series(why))


def line_up(
    encoder: TextEncoder,
    *,
    tagged: PromptSet,
    spelled: PromptSet,
    tuning: TuneSettings,
    tuned_cases: Sequence[str],
    seed: int,
) -> list[tuple[TextModel, Sequence[str]]]:
    """Return the controls and the encoder, frozen and tuned, each with the prompt cases that it sees."""
    cases = {
        "mean": ["none"],
        "median": ["none"],
        "1nn": ["composition"],
        "shuffled": ["case4_both"],
        TREES: [*CASES, SYMMETRY_ALONE],
        NGRAMS: CASES,
    }
    controls = [(Control(name, tagged, seed), cases[name]) for name in cases]
    tuned = (EncoderModel(encoder, spelled, tuning), tuned_cases)
    return [*controls, (EncoderModel(encoder, spelled), CASES), tuned]


def text_models(rows: pd.DataFrame) -> list[str]:
    """Return the names of the models that read or write texts, without the controls."""
    return [n for n in rows[P.MODEL].unique() if n not in CONTROLS and not n.startswith(CONTROL_PREFIX)]


def text_records(
    rows: pd.DataFrame, data: TextData, *, protocols: Iterable[str], seed: int, n_bootstrap: int
) -> list[dict]:
    """Return the metric records of ``rows`` (`evaluate_texts`), among them paired differences in MAE.

    Each richer case against the formula alone; each text model against n-grams, trees and the text models
    before it in the same case.
    """
    texts = text_models(rows)
    pairs = [(f"{m}/{c}", f"{m}/{CASES[0]}") for m in [*texts, TREES] for c in CASES[1:]]
    for k, model in enumerate(texts):
        pairs += [(f"{model}/{c}", f"{rival}/{c}") for c in CASES for rival in (NGRAMS, TREES, *texts[:k])]
    records = metrics_from_predictions(
        rows[PREDICTION],
        seed=seed,
        n_bootstrap=n_bootstrap,
        pairs=pairs,
        groups=bootstrap_groups(data.table, protocols),
    )
    return records + share_records(rows, seed=seed)
