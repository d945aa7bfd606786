"""The models of notebook 05 behind one interface: learn from the training rows, predict the test rows."""

import hashlib
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from sselib.columns import CONTROL_PREFIX, Entry
from sselib.materials.composition import element_fractions
from sselib.regression.models import DEFAULT_OPTIONS, ModelOptions, NearestComposition, make_model
from sselib.text.answers import Answer, format_answer
from sselib.text.causal import (
    MINIATURE,
    CausalModel,
    Sampling,
    load_causal,
    load_tokenizer,
    parameters,
    pretrained_miniature,
    write_answers,
)
from sselib.text.controls import SYMMETRY_ALONE, NgramRidge, information
from sselib.text.encoder import TextEncoder, TuneSettings, embeddings, frozen_states, head, n_layers, tune
from sselib.text.miniature import DEFAULT_SIZE, MiniatureSize
from sselib.text.prompts import CASES, PromptSet, prompt_fields, render_all, space_groups
from sselib.text.training import LoraSettings, add_lora, chat_text, encode_example, save_adapter, train
from sselib.validation.splits import Split

# Kim et al., Table 8: MAE of their language model in log10 units.
KIM_TABLE_8_LLM: Mapping[str, float] = {
    "oxide": 0.629,
    "sulfide (non-halides)": 0.654,
    "sulfide (halides)": 0.380,
    "others (non-S/O)": 1.781,
}
TREES, NGRAMS = f"{CONTROL_PREFIX}trees", f"{CONTROL_PREFIX}ngrams"
FROZEN, TAUGHT, TUNED = "frozen", "taught", "lora"
INTERVAL = (5.0, 95.0)  # percentiles of a row's sampled answers: the spread of the model's own draws


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

    @property
    def compositions(self) -> list[str]:
        """Canonical composition of each row."""
        return list(self.table[Entry.COMPOSITION])

    def information(self, case: str) -> np.ndarray:
        """Return what a prompt case tells, as numbers, shape (n, features)."""
        told = information(self.compositions, self.groups, list(self.fields["disorder"]), case=case)
        return told.to_numpy(float)


@dataclass(frozen=True)
class Predicted:
    """Predictions of the test rows in order, shape (n_test,); ``lower``, ``upper`` where there is a spread.

    ``answered`` is False where no answer could be read and the training median stands in. ``n_answers`` and
    ``n_unparsed`` count texts per row. ``trainable`` is the number of trained parameters.
    """

    y_pred: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    answered: np.ndarray | None = None
    n_answers: np.ndarray | None = None
    n_unparsed: np.ndarray | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    trainable: int = 0


class TextModel(Protocol):
    """What the runner needs: a name, a text that changes with every setting, predictions of a split."""

    name: str

    @property
    def signature(self) -> str:
        """Settings as a text; predictions are kept under a hash of it."""

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> Predicted:
        """Learn from the training rows and predict the test rows of ``split``."""


def text_data(dataset: str, table: pd.DataFrame, structures: pd.DataFrame) -> TextData:
    """Return a data set with its prompt fields (see `prompt_fields`)."""
    table = table.reset_index(drop=True)
    groups = tuple(space_groups(table, structures))
    return TextData(dataset, table, prompt_fields(table, structures), groups)


@dataclass(frozen=True)
class Tabular:
    """A tabular model on the information of the case: mean, median, 1nn, shuffled or trees."""

    name: str
    options: ModelOptions = DEFAULT_OPTIONS
    seed: int = 0

    @property
    def signature(self) -> str:
        """Settings as a text."""
        return repr(self)

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> Predicted:
        """See `TextModel`; ``1nn`` looks at the composition whatever the case."""
        x = self._inputs(data, case)
        kind = {TREES: "xgb_single"}.get(self.name, self.name)
        model = (
            NearestComposition() if kind == "1nn" else make_model(kind, options=self.options, seed=self.seed)
        )
        fitted = model.fit(x[split.train], data.y[split.train])
        return Predicted(np.asarray(fitted.predict(x[split.test]), float))

    def _inputs(self, data: TextData, case: str) -> np.ndarray:
        if self.name == "1nn":
            return element_fractions(data.compositions).to_numpy()
        return data.information(case if case in (*CASES, SYMMETRY_ALONE) else CASES[0])


@dataclass(frozen=True)
class Ngrams:
    """Character n-grams of the prompt with ridge regression."""

    prompts: PromptSet
    name: str = NGRAMS

    @property
    def signature(self) -> str:
        """Settings as a text."""
        return self.name

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> Predicted:
        """See `TextModel`."""
        texts = np.array(render_all(data.fields, prompts=self.prompts, case=case), dtype=object)
        model = NgramRidge().fit(texts[split.train], data.y[split.train])
        return Predicted(model.predict(texts[split.test]))


@dataclass(frozen=True)
class EncoderModel:
    """A pretrained encoder: with ``settings`` LoRA in its top layers, else only a head on its embeddings."""

    encoder: TextEncoder
    prompts: PromptSet
    settings: TuneSettings | None = None

    @property
    def name(self) -> str:
        """Name in tables: minilm_frozen, minilm_taught, or minilm_lora (tuned on labels, taught or not)."""
        kind = TUNED if self.settings else TAUGHT if self.encoder.taught else FROZEN
        return f"{Path(self.encoder.name).name}_{kind}"

    @property
    def signature(self) -> str:
        """Settings as a text."""
        return repr((self.encoder.name, self.encoder.taught, self.prompts, self.settings))

    @cached_property
    def _known(self) -> dict[tuple, object]:
        return {}

    def _states(self, data: TextData, case: str, below: int) -> object:
        """Return the frozen layers' states, kept for the next split of the same case."""
        texts = render_all(data.fields, prompts=self.prompts, case=case)
        key = (data.dataset, case, below, hash(tuple(texts)))
        if key not in self._known:
            self._known.clear()
            self._known[key] = frozen_states(self.encoder, texts, below=below)
        return self._known[key]

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> Predicted:
        """See `TextModel`."""
        top = self.settings.layers if self.settings else 0
        states = self._states(data, case, n_layers(self.encoder) - top)
        if self.settings is None:
            x = embeddings(states)
            return Predicted(head().fit(x[split.train], data.y[split.train]).predict(x[split.test]))
        settings = replace(self.settings, seed=self.settings.seed + 100 * split.repeat + split.fold)
        train_states, test_states = states.rows(split.train), states.rows(split.test)
        tuned = tune(self.encoder, train_states, data.y[split.train], settings=settings)
        fitted = head().fit(tuned.embeddings(train_states), data.y[split.train])
        return Predicted(fitted.predict(tuned.embeddings(test_states)), trainable=tuned.trainable)


@dataclass(frozen=True)
class CausalAnswers:
    """A causal language model fine-tuned with LoRA for each split, that writes its answers.

    ``source`` is a folder or Hugging Face name that is loaded anew for each fit; ``folder`` keeps checkpoints
    and, with ``keep_adapters``, the adapters with their cards.
    """

    name: str
    source: str
    prompts: PromptSet
    lora: LoraSettings
    sampling: Sampling
    folder: Path
    four_bit: bool = False
    precision: str = "auto"
    keep_adapters: bool = False
    base: str = ""  # what makes the base model what it is

    @property
    def signature(self) -> str:
        """Settings as a text, without places."""
        hardware = (self.four_bit, self.precision)
        return repr((self.name, self.base, self.prompts, self.lora, self.sampling, hardware))

    def fit_predict(self, data: TextData, split: Split, *, case: str) -> Predicted:
        """See `TextModel`. A row without any readable answer gets the training median and is counted."""
        causal = load_causal(self.source, four_bit=self.four_bit, precision=self.precision)
        users = render_all(data.fields, prompts=self.prompts, case=case)
        key = hashlib.sha256(f"{self.signature}{data.y[split.train]}".encode()).hexdigest()[:8]
        tag = f"{data.dataset}-{self.name}-{case}-{split.protocol}-{split.repeat}-{split.fold}-{key}"
        tag = tag.replace("/", "_")
        tuned = self._tuned(causal, data, split, users=users, case=case, tag=tag)
        answers = write_answers(
            tuned,
            [users[k] for k in split.test],
            system=self.prompts.system,
            sampling=self.sampling,
            seed=self.lora.seed + 100 * split.repeat + split.fold,
        )
        _, trainable = parameters(tuned.model)
        return replace(
            summarise(answers, fallback=float(np.median(data.y[split.train]))), trainable=trainable
        )

    def _tuned(
        self, causal: CausalModel, data: TextData, split: Split, *, users: Sequence[str], case: str, tag: str
    ) -> CausalModel:
        """Return the model with adapters trained on the split's training rows."""
        examples = [
            encode_example(
                causal.tokenizer,
                system=self.prompts.system,
                user=users[k],
                answer=format_answer(data.y[k], decimals=self.prompts.decimals),
                context=causal.context,
            )
            for k in split.train
        ]
        model = add_lora(causal.model, self.lora)
        keep = self.folder / "checkpoints" / tag if self.keep_adapters else None
        train(
            model,
            examples,
            settings=self.lora,
            pad_id=causal.tokenizer.pad_token_id,
            checkpoints=keep,
        )
        if self.keep_adapters:
            about = {
                "case": case,
                "n": len(split.train),
                "dataset": data.dataset,
                "protocol": split.protocol,
                "repeat": split.repeat,
                "fold": split.fold,
            }
            save_adapter(
                model,
                self.folder / "adapters" / tag,
                base=self.name,
                prompts=self.prompts,
                settings=self.lora,
                about=about,
            )
        return replace(causal, model=model)


def causal_answers(
    name: str,
    *,
    data: TextData,
    prompts: PromptSet,
    lora: LoraSettings,
    sampling: Sampling,
    folder: Path,
    pretrain_epochs: float = 1,
    size: MiniatureSize = DEFAULT_SIZE,
    four_bit: bool = False,
    precision: str = "auto",
    keep_adapters: bool = False,
) -> CausalAnswers:
    """Return a causal model ready to be fine-tuned.

    ``name`` is a Hugging Face name, a local folder, or miniature-llama, miniature-mistral, miniature-qwen3:
    those are pretrained now on the formulas of ``data`` (no label is read) and kept in ``folder``. Raises
    `DataError` at once for a model that cannot be had, `ParameterError` for one without a chat template.
    """
    source = name
    if name.startswith(MINIATURE):
        source = str(_miniature(name, data, prompts, size, pretrain_epochs, lora.seed, folder))
    chat_text(load_tokenizer(source, shown=name), system=prompts.system, user="")
    return CausalAnswers(
        name=Path(name).name,
        source=source,
        prompts=prompts,
        lora=lora,
        sampling=sampling,
        folder=folder,
        four_bit=four_bit,
        precision=precision,
        keep_adapters=keep_adapters,
        base=repr((size, pretrain_epochs)) if name.startswith(MINIATURE) else name,
    )


def _miniature(
    name: str,
    data: TextData,
    prompts: PromptSet,
    size: MiniatureSize,
    epochs: float,
    seed: int,
    folder: Path,
) -> Path:
    """Pretrain a miniature, or find the one of an earlier run with the same text and settings."""
    formulas = list(data.fields["formula"])
    users = [text for case in CASES for text in render_all(data.fields, prompts=prompts, case=case)]
    key = hashlib.sha256(repr((users, prompts, size, epochs, seed)).encode()).hexdigest()[:8]
    place = folder / "bases" / f"{name}-{key}"
    pretrained_miniature(
        name.removeprefix(MINIATURE),
        formulas,
        prompts=prompts,
        users=users,
        size=size,
        epochs=epochs,
        seed=seed,
        folder=place,
    )
    return place


def summarise(answers: Sequence[Sequence[Answer]], *, fallback: float) -> Predicted:
    """Return the median of each row's readable answers and their 5th and 95th percentile.

    ``fallback`` stands in for a row with none. ``reasons`` counts why texts could not be read.
    """
    values = [np.array([a.value for a in row if not a.reason]) for row in answers]
    filled = [v if len(v) else np.array([fallback]) for v in values]
    unread = [a.reason for row in answers for a in row if a.reason]
    return Predicted(
        y_pred=np.array([np.median(v) for v in filled]),
        lower=np.array([np.percentile(v, INTERVAL[0]) for v in filled]),
        upper=np.array([np.percentile(v, INTERVAL[1]) for v in filled]),
        answered=np.array([len(v) > 0 for v in values]),
        n_answers=np.array([len(row) for row in answers]),
        n_unparsed=np.array([sum(bool(a.reason) for a in row) for row in answers]),
        reasons={reason: unread.count(reason) for reason in dict.fromkeys(unread)},
    )


def peak_memory_gib() -> float:
    """Return the peak memory so far, GiB: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
