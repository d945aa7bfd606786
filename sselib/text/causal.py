"""Causal language models by name, and the numbers that they write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import is_bitsandbytes_available

from sselib.errors import DataError, ParameterError
from sselib.text.answers import Answer, parse_answer
from sselib.text.hub import loading_options, unreachable
from sselib.text.miniature import MiniatureSize, miniature_model, pretraining_chats, train_tokenizer
from sselib.text.prompts import PromptSet
from sselib.text.training import (
    LoraSettings,
    chat_text,
    encode_example,
    require_fits,
    train,
    trainable_parameters,
)

MINIATURE = "miniature-"  # miniature-llama, miniature-mistral, miniature-qwen3: no download
OFFLINE_DEFAULT = f"{MINIATURE}llama"


@dataclass(frozen=True)
class CausalModel:
    """A model with its tokenizer; ``context`` is the longest text in tokens."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context: int


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Defaults: Kim et al., Table 2 (inference).

    ``n_samples`` answers a row; each that does not parse is drawn again up to ``retries`` times.
    ``greedy`` takes the likeliest token every time: one answer, nothing to draw again.
    """

    max_new_tokens: int = 12
    temperature: float = 0.7
    top_k: int = 10
    n_samples: int = 5
    retries: int = 2
    greedy: bool = False
    batch_size: int = 64


def load_causal(name: str, *, four_bit: bool = False, precision: str = "auto") -> CausalModel:
    """Return a causal model by its Hugging Face name or local folder, on the GPU if there is one.

    ``precision``: "bf16", "float32", or "auto" for bf16 on a GPU that has it, else float32. ``four_bit``
    needs bitsandbytes and a GPU. Raises `DataError` with three ways out where the model cannot be had, and
    `ParameterError` for ``four_bit`` without GPU or another precision.
    """
    gpu = torch.cuda.is_available()
    if four_bit and not (gpu and is_bitsandbytes_available()):
        raise ParameterError(
            "four_bit needs an NVIDIA GPU and the package bitsandbytes: set four_bit to false, or run there"
        )
    options = {"dtype": _dtype(precision, gpu=gpu), **loading_options(name)}
    options |= _quantised(options["dtype"]) if four_bit else {}
    tokenizer = load_tokenizer(name)
    try:
        model = AutoModelForCausalLM.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(unreachable(name, error, default=OFFLINE_DEFAULT)) from error
    model = model if four_bit or not gpu else model.to("cuda")
    return CausalModel(name, model, tokenizer, int(model.config.max_position_embeddings))


def load_tokenizer(name: str, *, shown: str = "") -> PreTrainedTokenizerBase:
    """Return a model's tokenizer; ``shown`` is its name in the error. Raises `DataError` as `load_causal`."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **loading_options(name))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(unreachable(shown or name, error, default=OFFLINE_DEFAULT)) from error
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def _dtype(precision: str, *, gpu: bool) -> torch.dtype:
    known = {"bf16": torch.bfloat16, "float32": torch.float32}
    known["auto"] = torch.bfloat16 if gpu and torch.cuda.is_bf16_supported() else torch.float32
    if precision not in known:
        raise ParameterError(f"precision {precision!r} is unknown: expected one of {', '.join(known)}")
    return known[precision]


def _quantised(dtype: torch.dtype) -> dict[str, object]:
    """Return the options of a 4-bit model that computes in ``dtype``."""
    from transformers import BitsAndBytesConfig

    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": quantised, "device_map": {"": 0}}


def pretrained_miniature(
    architecture: str,
    formulas: Sequence[str],
    *,
    prompts: PromptSet,
    users: Sequence[str],
    size: MiniatureSize,
    epochs: float,
    seed: int,
    folder: Path,
) -> CausalModel:
    """Return a miniature that was trained on text made from formulas, kept in ``folder`` for the next call.

    ``users`` are the prompts to come, without answers: the tokenizer sees them, the model does not.
    """
    if not (folder / "config.json").is_file():
        chats = pretraining_chats(formulas, system=prompts.system)
        tokenizer = train_tokenizer([*(" ".join(c) for c in chats), *users])
        model = miniature_model(architecture, tokenizer, size=size, seed=seed)
        examples = [
            encode_example(tokenizer, system=s, user=u, answer=a, context=size.context) for s, u, a in chats
        ]
        settings = LoraSettings(epochs=epochs, batch_size=16, accumulation=1, learning_rate=3e-3, seed=seed)
        train(model, examples, settings=settings, pad_id=tokenizer.pad_token_id)
        tokenizer.save_pretrained(str(folder))
        model.save_pretrained(str(folder))
    loaded = load_causal(str(folder))
    return CausalModel(f"{MINIATURE}{architecture}", loaded.model, loaded.tokenizer, loaded.context)


def parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Return the number of all and of the trained parameters."""
    return sum(p.numel() for p in model.parameters()), trainable_parameters(model)


def write_answers(
    causal: CausalModel, users: Sequence[str], *, system: str, sampling: Sampling, seed: int
) -> list[list[Answer]]:
    """Return the answers of the model for every text, unparsed ones included, in order.

    Per text: ``n_samples`` answers (one if greedy), and after them the answers drawn again for those that
    did not parse. Raises `DataError` for a text longer than the context.
    """
    prompts = [chat_text(causal.tokenizer, system=system, user=u) for u in users]
    tokens = [causal.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    for ids, user in zip(tokens, users, strict=True):
        require_fits(len(ids) + sampling.max_new_tokens, context=causal.context, text=user)
    found: list[list[Answer]] = [[] for _ in users]
    wanted = [k for k in range(len(users)) for _ in range(1 if sampling.greedy else sampling.n_samples)]
    for attempt in range(1 if sampling.greedy else 1 + sampling.retries):
        answers = _generate(
            causal, [tokens[k] for k in wanted], sampling=sampling, seed=seed + 1000 * attempt
        )
        for k, answer in zip(wanted, answers, strict=True):
            found[k].append(answer)
        wanted = [k for k, answer in zip(wanted, answers, strict=True) if answer.reason]
    return found


@torch.no_grad()
def _generate(
    causal: CausalModel, tokens: Sequence[Sequence[int]], *, sampling: Sampling, seed: int
) -> list[Answer]:
    """Return one answer per prompt; prompts of like length go together, padded on the left."""
    causal.model.eval()
    order = np.argsort([len(t) for t in tokens], kind="stable")
    texts = [""] * len(tokens)
    draw = {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k}
    devices = [causal.model.device] if causal.model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for start in range(0, len(order), sampling.batch_size):
            rows = order[start : start + sampling.batch_size]
            ids, mask = _left_padded([tokens[k] for k in rows], pad_id=causal.tokenizer.pad_token_id)
            out = causal.model.generate(
                input_ids=ids.to(causal.model.device),
                attention_mask=mask.to(causal.model.device),
                max_new_tokens=sampling.max_new_tokens,
                pad_token_id=causal.tokenizer.pad_token_id,
                eos_token_id=causal.tokenizer.eos_token_id,
                **({"do_sample": False} if sampling.greedy else draw),
            )
            new = causal.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
            for k, text in zip(rows, new, strict=True):
                texts[k] = text
    return [parse_answer(text) for text in texts]


def _left_padded(rows: Sequence[Sequence[int]], *, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(r) for r in rows)
    ids = torch.tensor([[*[pad_id] * (longest - len(r)), *r] for r in rows])
    mask = torch.tensor([[*[0] * (longest - len(r)), *[1] * len(r)] for r in rows])
    return ids, mask
