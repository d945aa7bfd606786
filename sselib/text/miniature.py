"""Miniature causal models that need no download: real Llama, Mistral and Qwen3 code with few parameters.

The tokenizer is trained on the spot, with a chat template; the weights are pretrained on the spot on text
made from formulas alone (elements, family, amounts). No conductivity is ever read here. They exist so that
chat template, LoRA, generation and parsing run for real on any laptop, not to predict well. Llama and Mistral
are the same network at this size and give identical numbers; Qwen3 normalises queries and keys.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from sselib.errors import FormulaError, ParameterError, nearest
from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER, parse_formula
from sselib.materials.families import family_from_composition

Chat = tuple[str, str, str]  # system, user, assistant

ARCHITECTURES: tuple[str, ...] = ("llama", "mistral", "qwen3")  # names of transformers
SPECIAL_TOKENS = ("<|pad|>", "<|unknown|>", "<|start|>", "<|end|>")
# A word with the blank before it, an element symbol, a digit or one sign is one piece: a number is read digit
# by digit.
_PIECES = r" ?[A-Z][a-z]{2,}| ?[a-z]+|[A-Z][a-z]?|[0-9]|\s|[^\sA-Za-z0-9]"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
_ASCII = "".join(chr(c) for c in range(32, 127)) + "\n"


@dataclass(frozen=True)
class MiniatureSize:
    """Size of a miniature: layers, hidden width, attention heads, key-value heads, longest text (tokens)."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    context: int = 512


DEFAULT_SIZE = MiniatureSize()


def train_tokenizer(texts: Sequence[str], *, vocabulary: int = 1000) -> PreTrainedTokenizerFast:
    """Return a byte-pair tokenizer trained on ``texts``, with chat template.

    Every digit is a token of its own, so that "-3.210" is read and written sign, digit, point, digit. All
    element symbols and printable ASCII characters are in the vocabulary, so that no formula is unknown.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(_ASCII),
        show_progress=False,
        min_frequency=2,
    )
    elements = [f" {symbol} " for symbol in MODIFIED_PETTIFOR_ORDER]
    tokenizer.train_from_iterator([*texts, *elements, *elements], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[0],
        unk_token=SPECIAL_TOKENS[1],
        eos_token=SPECIAL_TOKENS[3],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def miniature_model(
    architecture: str, tokenizer: PreTrainedTokenizerFast, *, size: MiniatureSize, seed: int
) -> PreTrainedModel:
    """Return an untrained model of the architecture (llama, mistral or qwen3) for the tokenizer.

    Raises `ParameterError` for another architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ParameterError(
            f"miniature architecture {architecture!r} is unknown: expected one of "
            f"{', '.join(ARCHITECTURES)}.{nearest(architecture, list(ARCHITECTURES))}"
        )
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=3 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.hidden // size.heads,
        max_position_embeddings=size.context,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)


def pretraining_chats(formulas: Sequence[str], *, system: str) -> list[Chat]:
    """Return chats about formulas that hold no conductivity: elements, family, amounts.

    ``system`` is the task of the later fine-tuning; it is put before a different question here, so that its
    words are known to the model. Formulas that cannot be read are left out. The number asked for
    is log10 of lithium's mole fraction, with three decimals and mostly negative: the form of a later answer
    is learnt, not its value.
    """
    chats: list[Chat] = []
    for formula in dict.fromkeys(formulas):
        with contextlib.suppress(FormulaError):
            composition = parse_formula(formula)
            fractions = composition.fractional_composition.get_el_amt_dict()
            share = np.log10(max(fractions.get("Li", 0.0), 1e-3))
            answers = (
                ("List the elements.", " ".join(sorted(fractions))),
                ("Name the family.", str(family_from_composition(composition))),
                (f"{system} Here: of the mole fraction of lithium.", f"{share:.3f}"),
            )
            chats += [(task, f"formula: {formula}", answer) for task, answer in answers]
    return chats
