"""How much GPU memory LoRA fine-tuning of a causal model needs, from its shape alone.

The sum of weights, adapters with gradients and optimiser state, and activations. The same formulas are
checked at small scale against what torch really keeps (`measured_saved_bytes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from transformers import PretrainedConfig

from sselib.text.miniature import ARCHITECTURES, MiniatureSize, miniature_model, train_tokenizer
from sselib.text.training import LoraSettings, add_lora, trainable_parameters

# NF4 with double quantisation: 4 bit, an 8-bit constant per 64 and a 32-bit one per 64 x 256 weights.
# Source: Dettmers et al., QLoRA, section 3, arXiv 2305.14314.
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
CONTEXT_GIB = 0.7  # CUDA context, kernels and workspaces; typical of current drivers
FRAGMENTATION = 1.10  # share that the allocator loses
GIB = 2**30


@dataclass(frozen=True)
class ModelShape:
    """What the sum needs to know of a Llama, Mistral or Qwen type model."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = False
    head_norms: bool = False  # Qwen3 normalises queries and keys of each head


# From the config.json of each model on the Hugging Face hub.
PUBLISHED_SHAPES: tuple[ModelShape, ...] = (
    ModelShape("Llama-3.1-8B-Instruct", 32, 4096, 14336, 32, 8, 128, 128256),
    ModelShape("Mistral-7B-Instruct-v0.3", 32, 4096, 14336, 32, 8, 128, 32768),
    ModelShape("Qwen3-8B", 36, 4096, 12288, 32, 8, 128, 151936, head_norms=True),
)


@dataclass(frozen=True)
class Memory:
    """Parts of the estimate in bytes; ``total_gib`` adds context and fragmentation."""

    weights: float
    adapters: float
    activations: float
    parameters: int
    trainable: int

    @property
    def total_gib(self) -> float:
        """GiB on the GPU at the peak of a training step."""
        return (self.weights + self.adapters + self.activations) * FRAGMENTATION / GIB + CONTEXT_GIB


def shape_of(config: PretrainedConfig, *, name: str) -> ModelShape:
    """Return the shape from a transformers configuration."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return ModelShape(
        name=name,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        vocabulary=config.vocab_size,
        tied=bool(config.tie_word_embeddings),
        head_norms=config.model_type == "qwen3",
    )


def linear_shapes(shape: ModelShape) -> Mapping[str, tuple[int, int]]:
    """Return (inputs, outputs) of the seven linear modules of a layer, those of Kim et al.'s Table 2."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return {
        "q_proj": (shape.hidden, query),
        "k_proj": (shape.hidden, key),
        "v_proj": (shape.hidden, key),
        "o_proj": (query, shape.hidden),
        "gate_proj": (shape.hidden, shape.intermediate),
        "up_proj": (shape.hidden, shape.intermediate),
        "down_proj": (shape.intermediate, shape.hidden),
    }


def count_parameters(shape: ModelShape) -> tuple[int, int]:
    """Return the number of parameters in the linear modules of all layers, and of all others."""
    linear = shape.layers * sum(a * b for a, b in linear_shapes(shape).values())
    norms = shape.layers * (2 * shape.hidden + (2 * shape.head_dim if shape.head_norms else 0)) + shape.hidden
    tables = (1 if shape.tied else 2) * shape.vocabulary * shape.hidden
    return linear, norms + tables


def count_adapters(shape: ModelShape, *, rank: int) -> int:
    """Return the number of trained parameters: rank x (inputs + outputs) for every linear module."""
    return shape.layers * rank * sum(a + b for a, b in linear_shapes(shape).values())


def estimate(
    shape: ModelShape,
    *,
    rank: int,
    batch: int,
    tokens: int,
    four_bit: bool,
    adam_8bit: bool,
    checkpointing: bool = True,
    number_bytes: int = 2,
) -> Memory:
    """Return the memory of LoRA fine-tuning; ``tokens`` is the length of the longest text in the batch.

    Frozen linear weights take `NF4_BYTES` each in 4 bit, else ``number_bytes``; embeddings, output head and
    norms always ``number_bytes``. Adapters are kept, with gradient, in 32 bit, with two moments of 8 or 32
    bit. Activations: `activation_bytes`.
    """
    linear, other = count_parameters(shape)
    trainable = count_adapters(shape, rank=rank)
    return Memory(
        weights=linear * (NF4_BYTES if four_bit else number_bytes) + other * number_bytes,
        adapters=trainable * (4 + 4 + (2 if adam_8bit else 8)),
        activations=activation_bytes(
            shape,
            rank=rank,
            batch=batch,
            tokens=tokens,
            checkpointing=checkpointing,
            number_bytes=number_bytes,
        ),
        parameters=linear + other,
        trainable=trainable,
    )


def activation_bytes(
    shape: ModelShape, *, rank: int, batch: int, tokens: int, checkpointing: bool, number_bytes: int
) -> float:
    """Return the bytes kept for the backward pass.

    With gradient checkpointing the input of every layer and all of one layer, else all of every layer; and
    the logits three times in 32 bit (value, log-softmax, gradient).
    """
    n = batch * tokens
    layer = n * layer_values_per_token(shape, rank=rank) * number_bytes
    kept = shape.layers * n * shape.hidden * number_bytes + layer if checkpointing else shape.layers * layer
    return kept + 3 * n * shape.vocabulary * 4


def layer_values_per_token(shape: ModelShape, *, rank: int) -> float:
    """Return how many values one layer keeps per token for the backward pass.

    Norms keep input and normalised value (2 x 2 hidden), the residual sums nothing; attention keeps queries,
    keys and values before and after rotation and the output; the gated unit keeps gate, activation, up and
    product. Each of the seven adapters keeps its input after dropout, the mask (1 byte, counted as a
    quarter of a value) and its ``rank`` intermediate values. Fused attention keeps no square matrix.
    """
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    inputs = sum(a for a, _ in linear_shapes(shape).values())
    norms = 4 * shape.hidden + (2 * (query + key) if shape.head_norms else 0)
    attention = 2 * query + 2 * key + key + query
    gated = 4 * shape.intermediate
    adapters = inputs * 1.25 + 7 * rank
    return norms + attention + gated + adapters


def measured_saved_bytes(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> int:
    """Return the bytes that one forward pass keeps for the backward pass, weights not counted.

    Every distinct block of memory that autograd saves counts once.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    blocks: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        """Note the memory that a saved tensor holds; weights are there anyway and are left out."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            blocks[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(**batch).loss
    found = sum(storage.nbytes() for storage in blocks.values())
    del loss
    return found


def table(*, rank: int, batch: int, tokens: int, limit_gib: float) -> pd.DataFrame:
    """Return the estimate for each published model in 4 bit and bf16, GiB, and whether it fits."""
    rows = []
    for shape in PUBLISHED_SHAPES:
        for four_bit in (True, False):
            found = estimate(shape, rank=rank, batch=batch, tokens=tokens, four_bit=four_bit, adam_8bit=True)
            rows.append(
                {
                    "model": shape.name,
                    "weights": "4 bit" if four_bit else "bf16",
                    "parameters_1e9": round(found.parameters / 1e9, 2),
                    "trained_1e6": round(found.trainable / 1e6, 1),
                    "weights_gib": round(found.weights / GIB, 1),
                    "adapters_gib": round(found.adapters / GIB, 1),
                    "activations_gib": round(found.activations / GIB, 1),
                    "total_gib": round(found.total_gib, 1),
                    f"fits_{limit_gib}_gib": found.total_gib <= limit_gib,
                }
            )
    return pd.DataFrame(rows)


def check_small_scale(*, rank: int, seed: int, batch: int = 4, tokens: int = 96) -> pd.DataFrame:
    """Return estimated and measured numbers for a miniature of each architecture.

    Columns: model, parameters (estimated), counted, adapters, counted_adapters, estimated_mib, measured_mib
    (activations in 32 bit without checkpointing).
    """
    tokenizer = train_tokenizer(["formula: Li6PS5Cl -3.210"])
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, len(tokenizer), (batch, tokens), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    size = MiniatureSize(layers=4, hidden=128)
    rows = []
    for name in ARCHITECTURES:
        model = miniature_model(name, tokenizer, size=size, seed=seed)
        shape = shape_of(model.config, name=name)
        counted = sum(p.numel() for p in model.parameters())
        tuned = add_lora(model, LoraSettings(rank=rank, seed=seed)).train()
        expected = activation_bytes(
            shape, rank=rank, batch=batch, tokens=tokens, checkpointing=False, number_bytes=4
        )
        rows.append(
            {
                "model": name,
                "parameters": sum(count_parameters(shape)),
                "counted": counted,
                "adapters": count_adapters(shape, rank=rank),
                "counted_adapters": trainable_parameters(tuned),
                "estimated_mib": expected / 2**20,
                "measured_mib": measured_saved_bytes(tuned, inputs) / 2**20,
            }
        )
    return pd.DataFrame(rows)
