"""Where a model comes from: a local folder, the cache, or the Hugging Face hub, and what to do without."""

import os
import warnings
from pathlib import Path

import torch
import transformers
from huggingface_hub import constants

from sselib import registry


def loading_options(name: str) -> dict[str, bool]:
    """Return the options of ``from_pretrained``: nothing is asked of a hub that is off or does not answer.

    The hub's own library would retry for a minute.
    """
    off = constants.HF_HUB_OFFLINE or registry.offline() or Path(name).is_dir() or Path(name).is_absolute()
    return {"local_files_only": bool(off or registry.unreachable([constants.ENDPOINT]))}


def missing_model(name: str, error: Exception, *, default: str) -> str:
    """Return the text of the error for a model that is neither on the hub, in the cache nor in a folder."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return (
        f"the language model {name!r} cannot be loaded ({reason}). Three ways out: name a local folder that "
        "holds its config.json, tokenizer and weights; download it once where there is internet (hf download "
        f"{name}) and point HF_HOME to that cache; or take {default!r}, which needs no download"
    )


def quiet_libraries(*, threads: int) -> None:
    """Give torch that many threads, and leave progress bars and advice of transformers out of notebooks.

    Errors stay. peft still uses a name that transformers will drop in version 6 and warns of. Tokenizers run
    in one thread, because a forked kernel warns otherwise.
    """
    torch.set_num_threads(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
