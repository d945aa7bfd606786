"""How the libraries behind the text models behave in a notebook: quiet, offline-safe, few threads."""

import os

import torch
import transformers


def quiet_libraries(*, threads: int) -> None:
    """Give torch that many threads, and leave progress bars and advice of transformers out of notebooks.

    Errors stay. Tokenizers run in one thread, because a forked kernel warns otherwise.
    """
    torch.set_num_threads(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
