"""Causal language models by name, and the numbers that they write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import is_bitsandbytes_available

from sselib.errors import DataError, ParameterError
from sselib.provenance import content_sha256
from sselib.text.answers import WrittenAnswer, parse_answer
from sselib.text.hub import loading_options, missing_model
from sselib.text.miniature import MiniatureSize, miniature_model, pretraining_chats, train_tokenizer
from sselib.text.prompts import PromptSet
from sselib.text.training import (
    LoraSettings,
    chat_text,
    encode_example,
    require_fits,
    train_causal,
)

MINIATURE = "miniature-"  # miniature-llama, miniature-mistral, miniature-qwen3: no download
OFFLINE_DEFAULT = f"{MINIATURE}llama"


@dataclass(frozen=True)
class CausalModel:
    """A model with its tokenizer; ``context`` is the longest text in tokens."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context: int


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Defaults: Kim et al., Table 2 (inference).

    ``n_samples`` answers a row; each that does not parse is drawn again up to ``retries`` times. With
    ``n_samples`` 0 the likeliest token is taken every time: one answer, nothing to draw again.
    """

    max_new_tokens: int = 12
    temperature: float = 0.7
    top_k: int = 10
    n_samples: int = 5
    retries: int = 2
    batch_size: int = 64


def load_causal(name: str, *, four_bit: bool = False) -> CausalModel:
    """Return a causal model by its Hugging Face name or local folder, on the GPU if there is one.

    It computes in bf16 on a GPU that has it, else in float32. ``four_bit`` needs bitsandbytes and a GPU.
    Raises `DataError` with three ways out where the model cannot be had, and `ParameterError` for
    ``four_bit`` without GPU.
    """
    gpu = torch.cuda.is_available()
    if four_bit and not (gpu and is_bitsandbytes_available()):
        raise ParameterError(
            "four_bit needs an NVIDIA GPU and the package bitsandbytes: set four_bit to false, or run there"
        )
    dtype = torch.bfloat16 if gpu and torch.cuda.is_bf16_supported() else torch.float32
    options = {"dtype": dtype, **loading_options(name), **(_quantised(dtype) if four_bit else {})}
    tokenizer = load_tokenizer(name)
    try:
        model = AutoModelForCausalLM.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(missing_model(name, error, default=OFFLINE_DEFAULT)) from error
    model = model if four_bit or not gpu else model.to("cuda")
    return CausalModel(model, tokenizer, int(model.config.max_position_embeddings))


def load_tokenizer(name: str, *, shown: str = "") -> PreTrainedTokenizerBase:
    """Return a model's tokenizer; ``shown`` is its name in the error. Raises `DataError` as `load_causal`."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **loading_options(name))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(missing_model(shown or name, error, default=OFFLINE_DEFAULT)) from error
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


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
    name: str,
    formulas: Sequence[str],
    *,
    prompts: PromptSet,
    users: Sequence[str],
    size: MiniatureSize,
    epochs: float,
    seed: int,
    folder: Path,
) -> Path:
    """Pretrain a miniature on text made from formulas; return where it lies in ``folder``, kept under a hash.

    ``users`` are the prompts to come, without answers: the tokenizer sees them, the model does not.
    """
    place = folder / f"{name}-{content_sha256((name, formulas, users, prompts, size, epochs, seed))[:8]}"
    if not (place / "config.json").is_file():
        chats = pretraining_chats(formulas, system=prompts.system)
        tokenizer = train_tokenizer([*(" ".join(c) for c in chats), *users])
        model = miniature_model(name.removeprefix(MINIATURE), tokenizer, size=size, seed=seed)
        examples = [
            encode_example(tokenizer, system=s, user=u, answer=a, context=size.context) for s, u, a in chats
        ]
        settings = LoraSettings(epochs=epochs, batch_size=16, accumulation=1, learning_rate=3e-3, seed=seed)
        train_causal(model, examples, settings=settings, tokenizer=tokenizer)
        tokenizer.save_pretrained(str(place))
        model.save_pretrained(str(place))
    return place


def write_answers(
    causal: CausalModel, users: Sequence[str], *, system: str, sampling: Sampling, seed: int
) -> list[list[WrittenAnswer]]:
    """Return the answers of the model for every text, unparsed ones included, in order.

    Per text: ``n_samples`` answers (one if that is 0), and after them the answers drawn again for those that
    did not parse. Raises `DataError` for a text longer than the context.
    """
    prompts = [chat_text(causal.tokenizer, system=system, user=u) for u in users]
    tokens = [causal.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    for ids, user in zip(tokens, users, strict=True):
        require_fits(len(ids) + sampling.max_new_tokens, context=causal.context, text=user)
    found: list[list[WrittenAnswer]] = [[] for _ in users]
    wanted = [k for k in range(len(users)) for _ in range(sampling.n_samples or 1)]
    for attempt in range(1 + sampling.retries if sampling.n_samples else 1):
        asked = [tokens[k] for k in wanted]
        answers = _generate(causal, asked, sampling=sampling, seed=seed + 1000 * attempt)
        for k, answer in zip(wanted, answers, strict=True):
            found[k].append(answer)
        wanted = [k for k, answer in zip(wanted, answers, strict=True) if answer.reason]
    return found


@torch.no_grad()
def _generate(
    causal: CausalModel, tokens: Sequence[Sequence[int]], *, sampling: Sampling, seed: int
) -> list[WrittenAnswer]:
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
            prompts = {"input_ids": [tokens[k] for k in rows]}
            padded = causal.tokenizer.pad(prompts, padding_side="left", return_tensors="pt")
            out = causal.model.generate(
                **padded.to(causal.model.device),
                max_new_tokens=sampling.max_new_tokens,
                pad_token_id=causal.tokenizer.pad_token_id,
                eos_token_id=causal.tokenizer.eos_token_id,
                **(draw if sampling.n_samples else {"do_sample": False}),
            )
            new = causal.tokenizer.batch_decode(
                out[:, padded["input_ids"].shape[1] :], skip_special_tokens=True
            )
            for k, text in zip(rows, new, strict=True):
                texts[k] = text
    return [parse_answer(text) for text in texts]
