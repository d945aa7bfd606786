"""Training of causal models: LoRA with the settings of Kim et al., loss on the answer only, resumable."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import is_bitsandbytes_available

from sselib.errors import DataError, ParameterError
from sselib.runfolder import write_whole
from sselib.text.prompts import PromptSet
from sselib.text.words import load_words

IGNORED = -100  # label of a token that does not count in the loss
Example = dict[str, list[int]]  # input_ids and labels, one entry a token
KIM_TARGET_MODULES = tuple(f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))


@dataclass(frozen=True)
class LoraSettings:
    """How an adapter is trained. Defaults: Kim et al., Table 2 (batch and accumulation: section II).

    ``rank`` is not in their table; 16 is the default of the library that they name. The optimiser is 8-bit
    Adam on a GPU with bitsandbytes, else AdamW.
    """

    rank: int = 16
    alpha: int = 64
    dropout: float = 0.05
    learning_rate: float = 2.0e-4
    weight_decay: float = 0.01
    scheduler: str = "cosine"
    epochs: float = 15
    batch_size: int = 4
    accumulation: int = 2
    gradient_checkpointing: bool = False
    seed: int = 0


def chat_text(tokenizer: PreTrainedTokenizerBase, *, system: str, user: str) -> str:
    """Return the model's own chat format up to where the answer begins.

    A template that knows no system role gets the system text at the head of the user's. Raises
    `ParameterError` for a tokenizer without a chat template.
    """
    if not tokenizer.chat_template:
        raise ParameterError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'!r} has no chat template: expected an "
            "instruction-tuned model (for example ...-Instruct), whose tokenizer has one"
        )
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    question = {"role": "user", "content": user}
    try:
        messages = [{"role": "system", "content": system}, question]
        return tokenizer.apply_chat_template(messages, **options)
    except Exception as error:  # templates are programs of their own: jinja2 raises what they raise
        if "system" not in str(error).lower() and "alternate" not in str(error).lower():
            raise
        folded = {"role": "user", "content": f"{system}\n\n{user}"}
        return tokenizer.apply_chat_template([folded], **options)


def encode_example(
    tokenizer: PreTrainedTokenizerBase, *, system: str, user: str, answer: str, context: int
) -> Example:
    """Return one training example; only the answer and the end token count in the loss.

    Raises `DataError` if the text is longer than the model's ``context`` (tokens).
    """
    prompt = tokenizer(chat_text(tokenizer, system=system, user=user), add_special_tokens=False)["input_ids"]
    reply = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    require_fits(len(prompt) + len(reply), context=context, text=user)
    return {"input_ids": prompt + reply, "labels": [IGNORED] * len(prompt) + reply}


def require_fits(tokens: int, *, context: int, text: str) -> None:
    """Raise `DataError` for a text that is longer than the model's context."""
    if tokens > context:
        raise DataError(
            f"a prompt of {tokens} tokens is longer than the model's context of {context} tokens: "
            f"{text[:120]!r}. Shorten the formula, or take a model with a longer context"
        )


def add_lora(model: PreTrainedModel, settings: LoraSettings) -> PeftModel:
    """Return the model with fresh adapters; its own weights are frozen.

    Raises `ParameterError` if the model has none of the target modules.
    """
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    if not names & set(KIM_TARGET_MODULES):
        raise ParameterError(
            f"{type(model).__name__} has none of the modules {', '.join(KIM_TARGET_MODULES)}: expected a "
            "Llama, Mistral or Qwen type model"
        )
    if getattr(model, "is_quantized", False):
        checkpointing = settings.gradient_checkpointing
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    adapters = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
    modules = list(KIM_TARGET_MODULES)
    with _seeded(settings.seed):
        return get_peft_model(
            model, LoraConfig(task_type=TaskType.CAUSAL_LM, target_modules=modules, **adapters)
        )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Set torch's random state for a while: peft draws its first weights from the global one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def trainable_parameters(model: torch.nn.Module) -> int:
    """Return how many parameters are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def train_causal(
    model: torch.nn.Module,
    examples: Sequence[Example],
    *,
    settings: LoraSettings,
    tokenizer: PreTrainedTokenizerBase,
    checkpoints: Path | None = None,
) -> float:
    """Train what requires a gradient, and return the mean loss of all steps (nats per token).

    With a folder ``checkpoints`` the state is saved after every epoch, and a call after a kill goes on
    from the last whole epoch; without one nothing is kept.
    """
    with contextlib.ExitStack() as stack:
        # transformers makes a folder even if it saves nothing
        folder = checkpoints or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trainer = Trainer(
            model=model,
            args=_arguments(folder, settings, save=checkpoints is not None),
            train_dataset=examples,
            data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED),
        )
        trainer.remove_callback(PrinterCallback)  # notebooks keep no training log
        last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        stack.enter_context(_seeded(settings.seed))
        return float(trainer.train(resume_from_checkpoint=last).training_loss)


def _arguments(folder: Path, settings: LoraSettings, *, save: bool) -> TrainingArguments:
    gpu = torch.cuda.is_available()
    eight_bit = gpu and is_bitsandbytes_available()
    known = {f.name for f in fields(TrainingArguments)}
    checkpointing = next(n for n in ("activation_checkpointing", "gradient_checkpointing") if n in known)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.scheduler,
        optim="adamw_bnb_8bit" if eight_bit else "adamw_torch",
        **{checkpointing: settings.gradient_checkpointing},  # renamed within version 5
        bf16=gpu and torch.cuda.is_bf16_supported(),
        use_cpu=not gpu,
        save_strategy="epoch" if save else "no",
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=gpu,
        seed=settings.seed,
    )


def save_adapter(
    model: PeftModel, folder: Path, *, prompts: PromptSet, settings: LoraSettings, about: Mapping[str, object]
) -> Path:
    """Write the adapter with its card. ``about``: base, case, n, dataset, protocol, repeat, fold."""
    model.save_pretrained(str(folder))
    of_prompts = {"prompts": prompts.name, "version": prompts.version, "source": prompts.source}
    text = load_words().adapter_card.format(**of_prompts, **about, settings=json.dumps(asdict(settings)))
    write_whole(folder / "README.md", lambda p: p.write_text(text, encoding="utf-8"))
    return folder
