"""Settings of text models from parameter files, and libraries that stay quiet in a notebook."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
import transformers

from sselib.errors import ParameterError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Hardware:
    """``threads`` of torch (on a busy machine one is fastest); ``four_bit`` weights of causal models (GPU and
    bitsandbytes) and their ``precision`` (auto, bf16 or float32); ``keep_adapters`` keeps checkpoints, to
    resume within a fit, and adapters with a card.
    """

    threads: int = 1
    four_bit: bool = False
    precision: str = "auto"
    keep_adapters: bool = False


def settings_from(kind: type[T], values: Mapping[str, object], **fixed: object) -> T:
    """Return the settings dataclass ``kind`` with ``values`` and ``fixed`` in place of its defaults.

    Raises `ParameterError` for a name that it does not have, and for a number that is not above 0 where the
    default is one.
    """
    defaults = {f.name: f.default for f in fields(kind)}
    for name, value in values.items():
        if name not in defaults:
            raise ParameterError(
                f"{kind.__name__} has no setting {name!r}: expected {', '.join(defaults)}."
                f"{nearest(name, list(defaults))}"
            )
        if isinstance(value, str) and not isinstance(defaults[name], str):
            raise ParameterError(
                f"{name}: found the text {value!r}, expected a number (write 2.0e-4, not 2e-4)"
            )
        if _is_number(defaults[name]) and defaults[name] > 0 and not value > 0:
            raise ParameterError(f"{name}: found {value!r}, expected a number above 0")
    return kind(**{**values, **fixed})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


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
