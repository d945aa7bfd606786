"""Teaching a pretrained encoder what a text says about a material, before it sees any conductivity.

A general encoder knows the word "lithium" but neither what "30 lithium" is a share of nor how large an ion
it is. Here its lowest layers learn, with LoRA, to tell the descriptors of notebook 03 (ions, charge balance,
family, mole fractions, crystal system, disorder) from texts about invented materials. The adapters are then
merged, so that the result is an ordinary encoder in a folder. No label takes part, so nothing about
conductivity can leak from a test row; the formulas from which materials are invented are those of the table.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from sselib.features.formula import FAMILY_COLUMNS, FRACTION_COLUMNS, formula_features
from sselib.features.symmetry import SYMMETRY_FEATURES
from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER, parse_formula
from sselib.materials.disorder import DisorderClass
from sselib.progress import progress
from sselib.runfolder import to_json
from sselib.text.controls import information
from sselib.text.encoder import (
    TextEncoder,
    amount_weights,
    batches_of_like_length,
    layer_stack,
    load_encoder,
    padded,
    pool,
)
from sselib.text.models import TextData
from sselib.text.prompts import CASES, UNKNOWN, PromptSet, described_fields, render_all

_NOBLE = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")
_CLIP = 4.0  # standardised descriptors are cut here
_WARM_UP = 30  # steps
_AT_ONCE = 64  # texts read at a time
READING_FILE = "reading.json"


@dataclass(frozen=True)
class TeachSettings:
    """How an encoder is taught.

    ``layers`` lowest layers are kept and get adapters of ``rank`` and ``alpha``; ``texts`` invented
    materials are read once, ``batch_size`` at a time. The loss is Huber's with a knee at ``knee`` standard
    deviations. Layers and number of texts were chosen on rows of other sources than OBELiX.
    """

    texts: int = 5000
    layers: int = 3
    rank: int = 16
    alpha: int = 64
    learning_rate: float = 2.0e-3
    weight_decay: float = 0.01
    batch_size: int = 32
    head_width: int = 256
    knee: float = 0.5
    seed: int = 0


def invent_formulas(formulas: Sequence[str], *, n: int, rng: np.random.Generator) -> list[str]:
    """Return ``n`` formulas made from known ones: elements exchanged, amounts changed, dopants added.

    Each element but lithium is exchanged for one of the eight nearest on the modified Pettifor scale with
    probability 0.45, for any with 0.15; amounts change by a factor of about 1.5 at most times. Three in ten
    get a dopant of up to ten percent. Noble gases do not occur.
    """
    known = [parse_formula(f).get_el_amt_dict() for f in formulas]
    weight = _element_weights(known)
    return [_invented(known[rng.integers(len(known))], weight, rng) for _ in range(n)]


def _element_weights(known: Sequence[dict[str, float]]) -> np.ndarray:
    """Return how often each element of the modified Pettifor order is drawn: by use, and never not at all."""
    used = pd.Series([el for amounts in known for el in amounts]).value_counts()
    weight = 1.0 + 2.0 * used.reindex(list(MODIFIED_PETTIFOR_ORDER)).fillna(0).to_numpy()
    weight[np.isin(MODIFIED_PETTIFOR_ORDER, _NOBLE)] = 0
    return weight / weight.sum()


def _invented(amounts: dict[str, float], weight: np.ndarray, rng: np.random.Generator) -> str:
    found: dict[str, float] = {}
    for element, amount in amounts.items():
        other = element if element == "Li" else _exchanged(element, weight, rng)
        found[other] = found.get(other, 0.0) + amount * float(np.exp(0.4 * rng.normal()))
    if rng.random() < 0.3:
        dopant = str(rng.choice(MODIFIED_PETTIFOR_ORDER, p=weight))
        found[dopant] = found.get(dopant, 0.0) + sum(found.values()) * rng.uniform(0.005, 0.1)
    return "".join(f"{element}{amount:.4f}" for element, amount in found.items() if amount >= 5e-5)


def _exchanged(element: str, weight: np.ndarray, rng: np.random.Generator) -> str:
    draw, other = rng.random(), element
    if draw < 0.45:
        place = list(MODIFIED_PETTIFOR_ORDER).index(element) + int(rng.integers(-4, 5))
        other = MODIFIED_PETTIFOR_ORDER[min(max(place, 0), len(MODIFIED_PETTIFOR_ORDER) - 1)]
    elif draw < 0.6:
        other = str(rng.choice(MODIFIED_PETTIFOR_ORDER, p=weight))
    return element if other in _NOBLE else other


def descriptors(compositions: Sequence[str], groups: Sequence[int], disorder: Sequence[str]) -> pd.DataFrame:
    """Return what the texts of case 4 say as numbers, one row per material; NaN where they say "unknown".

    Formula features (square roots of mole fractions, because many are small), symmetry features, one flag
    per disorder class.
    """
    found = formula_features(compositions)
    found[list(FRACTION_COLUMNS)] = np.sqrt(found[list(FRACTION_COLUMNS)])
    told = information(compositions, groups, disorder, case="case4_both").iloc[:, len(FRACTION_COLUMNS) :]
    untold = np.array([d == UNKNOWN for d in disorder])
    told.loc[untold, [str(c) for c in DisorderClass]] = np.nan
    return pd.concat([found, told], axis=1)


@dataclass(frozen=True)
class Lessons:
    """Texts about invented materials, and ``targets``: their descriptors, NaN where the text is silent."""

    texts: tuple[str, ...]
    targets: pd.DataFrame


def lessons(formulas: Sequence[str], *, prompts: PromptSet, settings: TeachSettings) -> Lessons:
    """Invent materials and put each into words in one prompt case, drawn at random."""
    rng = np.random.default_rng(settings.seed)
    n = settings.texts
    invented = invent_formulas(formulas, n=n, rng=rng)
    groups = rng.integers(1, 231, n)
    disorder = rng.choice([str(c) for c in DisorderClass], n)
    cases = rng.choice(CASES, n)
    fields = described_fields(invented, groups=groups, disorder=disorder)
    texts = np.empty(n, dtype=object)
    for case in CASES:
        rows = np.flatnonzero(cases == case)
        texts[rows] = render_all(fields.iloc[rows], prompts=prompts, case=case)
    values = descriptors(invented, list(groups), list(disorder))
    symmetry, flags = [f.name for f in SYMMETRY_FEATURES], [str(c) for c in DisorderClass]
    values.loc[np.isin(cases, ["case1_formula", "case3_disorder"]), symmetry] = np.nan
    values.loc[np.isin(cases, ["case1_formula", "case2_symmetry"]), flags] = np.nan
    return Lessons(tuple(texts), values.loc[:, values.std() > 1e-4])


class _Reader(nn.Module):
    """An encoder, its tokens pooled by amount, and a head that tells descriptors."""

    def __init__(self, model: nn.Module, *, n: int, width: int) -> None:
        super().__init__()
        self.model = model
        hidden = 3 * int(model.config.hidden_size)
        self.head = nn.Sequential(nn.Linear(hidden, width), nn.GELU(), nn.Linear(width, n))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
        """Return standardised descriptors, shape (n, descriptors)."""
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.head(pool(states, mask, amounts))


@dataclass(frozen=True)
class _Tokens:
    """Tokens of texts and the amounts that stand before them (`amount_weights`)."""

    ids: tuple[list[int], ...]
    amounts: tuple[torch.Tensor, ...]

    def batch(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return ids, mask and amounts of some texts, padded."""
        ids = [torch.tensor(self.ids[k]) for k in rows]
        return padded(ids), padded([torch.ones(len(i)) for i in ids]), padded([self.amounts[k] for k in rows])


def _tokens(encoder: TextEncoder, texts: Sequence[str]) -> _Tokens:
    found = encoder.tokenizer(list(texts), return_offsets_mapping=True)
    pairs = zip(texts, found["offset_mapping"], strict=True)
    return _Tokens(tuple(found["input_ids"]), tuple(amount_weights(t, offsets) for t, offsets in pairs))


def teach(encoder: TextEncoder, taught: Lessons, *, settings: TeachSettings) -> tuple[TextEncoder, nn.Module]:
    """Return the encoder with merged adapters, and the reader (encoder and head) that was trained.

    ``encoder`` is changed in place.
    """
    mean, std = taught.targets.mean(), taught.targets.std()
    target = torch.tensor(((taught.targets - mean) / std).clip(-_CLIP, _CLIP).to_numpy(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        reader = _Reader(_adapted(encoder, settings), n=target.shape[1], width=settings.head_width)
        _read_once(reader, encoder, taught.texts, target, settings)
    merged = reader.model.merge_and_unload().eval()
    reader.model = merged
    return TextEncoder(encoder.name, merged, encoder.tokenizer, encoder.max_tokens), reader


def _adapted(encoder: TextEncoder, settings: TeachSettings) -> nn.Module:
    """Return the model with adapters in every linear map of every layer."""
    prefix, layers = layer_stack(encoder.model)
    names = [f"{prefix}.{n}" for n, m in layers.named_modules() if isinstance(m, nn.Linear)]
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, target_modules=names)
    return get_peft_model(encoder.model, config)


def _read_once(
    reader: nn.Module,
    encoder: TextEncoder,
    texts: Sequence[str],
    target: torch.Tensor,
    settings: TeachSettings,
) -> None:
    """Train on every text once; texts of like length go together."""
    trained = [p for p in reader.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    tokens = _tokens(encoder, texts)
    rng = np.random.default_rng(settings.seed)
    batches = batches_of_like_length([len(i) for i in tokens.ids], size=settings.batch_size, rng=rng)
    schedule = transformers.get_cosine_schedule_with_warmup(
        optimizer, min(_WARM_UP, len(batches) // 4), len(batches)
    )
    reader.eval()  # without dropout: amounts are read off exact values
    for rows in progress(batches, stage=f"teaching {encoder.name} on invented materials", total=len(batches)):
        wanted = target[rows]
        told = ~torch.isnan(wanted)
        found = reader(*tokens.batch(rows))
        loss = nn.functional.smooth_l1_loss(found[told], wanted[told], beta=settings.knee)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def reading(
    reader: nn.Module, encoder: TextEncoder, texts: Sequence[str], *, true: pd.DataFrame, taught: Lessons
) -> pd.DataFrame:
    """Return how well descriptors are read off real texts: kind, descriptor, n and R2, one row each.

    ``true`` are the `descriptors` of the texts' materials. Only descriptors that are taught and that vary
    over the texts are judged.
    """
    mean, std = taught.targets.mean(), taught.targets.std()
    tokens, n = _tokens(encoder, texts), len(texts)
    found = [reader(*tokens.batch(range(k, min(k + _AT_ONCE, n)))) for k in range(0, n, _AT_ONCE)]
    read = pd.DataFrame(torch.cat(found).numpy(), columns=taught.targets.columns) * std + mean
    rows = [_judged(name, read[name], true[name].reset_index(drop=True)) for name in taught.targets]
    return pd.DataFrame([r for r in rows if r])


def _judged(name: str, read: pd.Series, true: pd.Series) -> dict[str, object]:
    known = true.notna()
    spread = float(true[known].var(ddof=0)) if known.any() else 0.0
    if known.sum() < 10 or spread < 1e-8:
        return {}
    error = float(((read - true)[known] ** 2).mean())
    return {"kind": _kind(name), "descriptor": name, "n": int(known.sum()), "r2": 1 - error / spread}


def _kind(name: str) -> str:
    if name in FRACTION_COLUMNS:
        return "mole fractions"
    if name in FAMILY_COLUMNS:
        return "family"
    if name in {f.name for f in SYMMETRY_FEATURES}:
        return "symmetry"
    return "disorder" if name in {str(c) for c in DisorderClass} else "ions and charge"


@dataclass(frozen=True)
class Taught:
    """A taught encoder and how well it reads (`reading`)."""

    encoder: TextEncoder
    reading: pd.DataFrame


def taught_encoder(
    name: str, *, data: TextData, prompts: PromptSet, settings: TeachSettings, folder: Path
) -> Taught:
    """Return the encoder ``name`` taught on materials invented from the formulas of ``data``.

    It is kept in ``folder`` under a hash of all that it depends on, and found there by the next call.
    Raises `DataError` as `load_encoder`.
    """
    formulas = sorted(set(data.compositions))
    versions = (transformers.__version__, torch.__version__, np.__version__)
    key = hashlib.sha256(repr((name, formulas, prompts, settings, versions)).encode()).hexdigest()[:12]
    place = folder / f"{Path(name).name}-taught-{key}"
    if not (place / READING_FILE).is_file():
        _teach_into(place, name, data=data, formulas=formulas, prompts=prompts, settings=settings)
    kept = json.loads((place / READING_FILE).read_text(encoding="utf-8"))
    loaded = load_encoder(str(place))
    encoder = TextEncoder(name, loaded.model, loaded.tokenizer, loaded.max_tokens, taught=key)
    return Taught(encoder, pd.DataFrame(kept["reading"]))


def _teach_into(
    place: Path,
    name: str,
    *,
    data: TextData,
    formulas: Sequence[str],
    prompts: PromptSet,
    settings: TeachSettings,
) -> None:
    """Teach, judge on the data's own texts, and leave the folder whole or not at all."""
    lesson = lessons(formulas, prompts=prompts, settings=settings)
    encoder, reader = teach(load_encoder(name, layers=settings.layers), lesson, settings=settings)
    texts = render_all(data.fields, prompts=prompts, case="case4_both")
    true = descriptors(data.compositions, data.groups, list(data.fields["disorder"]))
    judged = reading(reader, encoder, texts, true=true, taught=lesson)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as aside:
        whole = Path(aside) / place.name
        encoder.model.save_pretrained(str(whole))
        encoder.tokenizer.save_pretrained(str(whole))
        about = {"base": name, "settings": asdict(settings), "reading": judged.to_dict("records")}
        (whole / READING_FILE).write_text(to_json(about) + "\n", encoding="utf-8")
        whole.rename(place)
