"""Where a model comes from: a local folder, the cache, or the Hugging Face hub, and what to do without."""

import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path

from huggingface_hub import constants

_PATIENCE_S = 5.0


@lru_cache(maxsize=4)
def hub_answers(address: str, *, timeout_s: float = _PATIENCE_S) -> bool:
    """Return whether the hub answers at all within ``timeout_s`` seconds; any answer counts, an error too.

    Asked once per address and process, so that a missing network costs seconds and not the minute that the
    retries of the hub's own library take. Proxies are those of the environment.
    """
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=timeout_s).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def loading_options(name: str) -> dict[str, bool]:
    """Return the options of ``from_pretrained``: nothing is asked of a hub that is off or does not answer."""
    off = constants.HF_HUB_OFFLINE or Path(name).is_dir() or Path(name).is_absolute()
    return {"local_files_only": bool(off or not hub_answers(constants.ENDPOINT))}


def unreachable(name: str, error: Exception, *, default: str) -> str:
    """Return the text of the error for a model that is neither on the hub, in the cache nor in a folder."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return (
        f"the language model {name!r} cannot be loaded ({reason}). Three ways out: name a local folder that "
        "holds its config.json, tokenizer and weights; download it once where there is internet (hf download "
        f"{name}) and point HF_HOME to that cache; or take {default!r}, which needs no download"
    )
