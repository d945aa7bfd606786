"""The models of notebook 05 behind one interface: learn from the training rows, predict the test rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from sselib.columns import CONTROL_PREFIX, Entry
from sselib.materials.composition import element_fractions
from sselib.provenance import content_sha256
from sselib.regression.models import ModelOptions, NearestComposition, make_model
from sselib.text import causal, encoder, training
from sselib.text.answers import WrittenAnswer, format_answer
from sselib.text.controls import SYMMETRY_ALONE, information, ngram_ridge
from sselib.text.miniature import DEFAULT_SIZE, MiniatureSize
from sselib.text.prompts import CASES, PromptSet, prompt_fields, render_all, space_groups
from sselib.validation.splits import Split

TREES, NGRAMS = f"{CONTROL_PREFIX}trees", f"{CONTROL_PREFIX}ngrams"
INTERVAL = (5.0, 95.0)  # percentiles of a row's sampled answers: the spread of the model's own draws
_TREE_BINS = 64  # XGBoost's histogram bins; 64 and 256 agree within 0.015 in cross-validated MAE on OBELiX


@dataclass(frozen=True)
class TextData:
    """One data set with its prompt fields; ``groups`` are space-group numbers, 0 where unknown."""

    dataset: str
    table: pd.DataFrame
    fields: pd.DataFrame
    groups: tuple[int, ...]

    @property
    def y(self) -> np.ndarray:
        """Labels, log10(S/cm), shape (n,)."""
        return self.table[Entry.LOG10_SIGMA].to_numpy(float)


@dataclass(frozen=True)
class TextPrediction:
    """Predictions of the test rows in order, shape (n_test,); ``lower``, ``upper`` where there is a spread.

    ``answered`` is False where no answer could be read and the training median stands in. ``n_answers`` and
    ``n_unparsed`` count texts per row. ``trainable`` is the number of trained parameters.
    """

    y_pred: np.ndarray
    lower: np.ndarray | float = np.nan
    upper: np.ndarray | float = np.nan
    answered: np.ndarray | bool = True
    n_answers: np.ndarray | int = 0
    n_unparsed: np.ndarray | int = 0
    trainable: int = 0


class TextModel(Protocol):
    """What the runner needs: a name, what else its predictions depend on, predictions of a split."""

    name: str

    @property
    def signature(self) -> object:
        """Settings, as `content_sha256` takes them; predictions are kept under a hash of it."""
        return self

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> TextPrediction:
        """Learn from the training rows and predict the test rows of ``split``."""


def text_data(dataset: str, table: pd.DataFrame, structures: pd.DataFrame) -> TextData:
    """Return a data set with its prompt fields (see `prompt_fields`)."""
    table = table.reset_index(drop=True)
    groups = tuple(space_groups(table, structures))
    return TextData(dataset, table, prompt_fields(table, structures), groups)


@dataclass(frozen=True)
class Control(TextModel):
    """A simple model: mean, median, 1nn (nearest composition), shuffled, control_trees or control_ngrams.

    The trees see the information of the case as numbers, the n-grams its text in ``prompts``.
    """

    name: str
    prompts: PromptSet
    seed: int = 0

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> TextPrediction:
        """See `TextModel`; ``1nn`` looks at the composition whatever the case."""
        model, x = self._model(), self._inputs(data, case)
        fitted = model.fit(x[split.train], data.y[split.train])
        return TextPrediction(np.asarray(fitted.predict(x[split.test]), float))

    def _model(self) -> BaseEstimator:
        if self.name == NGRAMS:
            return ngram_ridge()
        if self.name == "1nn":
            return NearestComposition()
        kind = "xgb_single" if self.name == TREES else self.name
        return make_model(kind, options=ModelOptions(max_bin=_TREE_BINS), seed=self.seed)

    def _inputs(self, data: TextData, case: str) -> np.ndarray:
        if self.name == NGRAMS:
            return np.array(render_all(data.fields, prompts=self.prompts, case=case), dtype=object)
        if self.name == "1nn":
            return element_fractions(list(data.table[Entry.COMPOSITION])).to_numpy()
        case = case if case in (*CASES, SYMMETRY_ALONE) else CASES[0]
        told = information(
            list(data.table[Entry.COMPOSITION]), data.groups, list(data.fields["disorder"]), case=case
        )
        return told.to_numpy(float)


@dataclass(frozen=True)
class EncoderModel:
    """A pretrained encoder: with ``settings`` LoRA in its top layers, else only a head on its embeddings."""

    base: encoder.TextEncoder
    prompts: PromptSet
    settings: encoder.TuneSettings | None = None

    @property
    def name(self) -> str:
        """Name in tables, for example minilm_frozen or minilm_lora (tuned on labels)."""
        return f"{Path(self.base.name).name}_{'lora' if self.settings else 'frozen'}"

    @property
    def signature(self) -> object:
        """See `TextModel`."""
        return self.base.name, self.prompts, self.settings

    @cached_property
    def _known(self) -> dict[tuple, encoder.States]:
        return {}

    def _states(self, data: TextData, case: str, below: int) -> encoder.States:
        """Return the frozen layers' states, kept for the next split of the same case."""
        texts = render_all(data.fields, prompts=self.prompts, case=case)
        key = (below, tuple(texts))
        if key not in self._known:
            self._known.clear()
            self._known[key] = encoder.frozen_states(self.base, texts, below=below)
        return self._known[key]

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> TextPrediction:
        """See `TextModel`."""
        top = self.settings.layers if self.settings else 0
        states = self._states(data, case, encoder.n_layers(self.base) - top)
        train, test = ([states[k] for k in rows] for rows in (split.train, split.test))
        y = data.y[split.train]
        if self.settings is None:
            x, trainable = [encoder.embeddings(s) for s in (train, test)], 0
        else:
            settings = replace(self.settings, seed=_seed_of(split, self.settings.seed))
            tuned = encoder.tune_encoder(self.base, train, y, settings=settings)
            x = [encoder.tuned_embeddings(tuned, s) for s in (train, test)]
            trainable = training.trainable_parameters(tuned)
        return TextPrediction(encoder.head().fit(x[0], y).predict(x[1]), trainable=trainable)


def _seed_of(split: Split, seed: int) -> int:
    return seed + 100 * split.repeat + split.fold


@dataclass(frozen=True)
class CausalAnswers:
    """A causal language model fine-tuned with LoRA for each split, that writes its answers.

    ``source`` is a folder or Hugging Face name that is loaded anew for each fit. With ``keep_adapters``
    ``folder`` keeps checkpoints, to resume within a fit, and adapters with their cards.
    """

    name: str
    source: str
    prompts: PromptSet
    lora: training.LoraSettings
    sampling: causal.Sampling
    folder: Path
    four_bit: bool = False
    keep_adapters: bool = False

    @property
    def signature(self) -> object:
        """See `TextModel`; a miniature's ``source`` ends with the hash of how it was made."""
        base = Path(self.source).name if self.name.startswith(causal.MINIATURE) else self.source
        return base, self.prompts, self.lora, self.sampling, self.four_bit

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> TextPrediction:
        """See `TextModel`. A row without any readable answer gets the training median and is counted."""
        base = causal.load_causal(self.source, four_bit=self.four_bit)
        users = render_all(data.fields, prompts=self.prompts, case=case)
        tuned = self._tuned(base, data, split, users=users, case=case)
        asked, seed = [users[k] for k in split.test], _seed_of(split, self.lora.seed)
        how = {"system": self.prompts.system, "sampling": self.sampling, "seed": seed}
        answers = causal.write_answers(tuned, asked, **how)
        found = summarise(answers, fallback=float(np.median(data.y[split.train])))
        return replace(found, trainable=training.trainable_parameters(tuned.model))

    def _tuned(
        self, base: causal.CausalModel, data: TextData, split: Split, *, users: Sequence[str], case: str
    ) -> causal.CausalModel:
        """Return the model with adapters trained on the split's training rows."""
        examples = [
            training.encode_example(
                base.tokenizer,
                system=self.prompts.system,
                user=users[k],
                answer=format_answer(data.y[k], decimals=self.prompts.decimals),
                context=base.context,
            )
            for k in split.train
        ]
        model = training.add_lora(base.model, self.lora)
        key = content_sha256((self.signature, users, data.y, split.train))[:8]
        tag = f"{data.dataset}-{self.name}-{case}-{split.protocol}-{split.repeat}-{split.fold}-{key}"
        keep = self.folder / "checkpoints" / tag if self.keep_adapters else None
        training.train_causal(model, examples, settings=self.lora, tokenizer=base.tokenizer, checkpoints=keep)
        if self.keep_adapters:
            split_of = {"protocol": split.protocol, "repeat": split.repeat, "fold": split.fold}
            about = {"base": self.name, "case": case, "n": len(split.train), "dataset": data.dataset}
            place = self.folder / "adapters" / tag
            training.save_adapter(
                model, place, prompts=self.prompts, settings=self.lora, about=about | split_of
            )
        return replace(base, model=model)


def causal_answers(
    name: str,
    *,
    data: TextData,
    prompts: PromptSet,
    lora: training.LoraSettings,
    sampling: causal.Sampling,
    folder: Path,
    pretrain_epochs: float = 1,
    size: MiniatureSize = DEFAULT_SIZE,
    **hardware: object,
) -> CausalAnswers:
    """Return a causal model ready to be fine-tuned.

    ``name`` is a Hugging Face name, a local folder, or miniature-llama, miniature-mistral, miniature-qwen3:
    those are pretrained now on the formulas of ``data`` (no label is read) and kept in ``folder``.
    ``hardware``: four_bit and keep_adapters of `CausalAnswers`. Raises `DataError` at once for a model that
    cannot be had, `ParameterError` for one without a chat template.
    """
    source = name
    if name.startswith(causal.MINIATURE):
        users = [text for case in CASES for text in render_all(data.fields, prompts=prompts, case=case)]
        made_with = {"size": size, "epochs": pretrain_epochs, "seed": lora.seed, "folder": folder / "bases"}
        formulas = list(data.fields["formula"])
        made = causal.pretrained_miniature(name, formulas, prompts=prompts, users=users, **made_with)
        source = str(made)
    training.chat_text(causal.load_tokenizer(source, shown=name), system=prompts.system, user="")
    lora = replace(lora, gradient_checkpointing=not name.startswith(causal.MINIATURE))  # memory for time
    return CausalAnswers(Path(name).name, source, prompts, lora, sampling, folder, **hardware)


def summarise(answers: Sequence[Sequence[WrittenAnswer]], *, fallback: float) -> TextPrediction:
    """Return the median of each row's readable answers and their 5th and 95th percentile.

    ``fallback`` stands in for a row with none.
    """
    values = [np.array([a.value for a in row if not a.reason]) for row in answers]
    filled = [v if len(v) else np.array([fallback]) for v in values]
    lower, middle, upper = np.array([np.percentile(v, (INTERVAL[0], 50.0, INTERVAL[1])) for v in filled]).T
    return TextPrediction(
        y_pred=middle,
        lower=lower,
        upper=upper,
        answered=np.array([len(v) > 0 for v in values]),
        n_answers=np.array([len(row) for row in answers]),
        n_unparsed=np.array([sum(bool(a.reason) for a in row) for row in answers]),
    )
