"""How the libraries behind the text models behave in a notebook: quiet, offline-safe, few threads."""

import os
import warnings

import torch
import transformers


def quiet_libraries(*, threads: int) -> None:
    """Give torch that many threads, and leave progress bars and advice of transformers out of notebooks.

    Errors stay. peft still uses a name that transformers will drop in version 6, and would warn of it. Tokenizers run in one thread, because a forked kernel warns otherwise.
    """
    torch.set_num_threads(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
