"""The process around the libraries: variables that they read at import, and their noise."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from imggen.errors import MachineError

TRUE_WORDS = frozenset({"1", "ON", "YES", "TRUE"})

# Library chatter and defaults. A user who sets one of these to debug a library gets what was asked for.
DEFAULTS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
    "HF_HUB_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
}

# What they say of each other when they are imported: which of their parts are old, and what could be faster.
CHATTERING_LOGGERS = ("torch.utils._pytree", "bitsandbytes")

# Not defaults but promises: no code that comes with a model is ever run.
PROMISES = {"DIFFUSERS_DISABLE_REMOTE_CODE": "1", "HF_HUB_DISABLE_EXPERIMENTAL_WARNING": "1"}


def is_offline(*, asked: bool | None = None) -> bool:
    """Return whether nothing may be fetched: `--offline`, HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE says so."""
    variable = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return bool(asked) or variable.upper() in TRUE_WORDS


def prepare(*, offline: bool = False) -> None:
    """Set what torch, diffusers, transformers and huggingface_hub read once, when they are imported.

    Call it before the first of them is imported; afterwards it changes nothing for what is already loaded.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(PROMISES)
    for name in CHATTERING_LOGGERS:
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.ERROR)
    if is_offline(asked=offline):
        os.environ["HF_HUB_OFFLINE"] = "1"


@contextmanager
def importing() -> Iterator[None]:
    """Import the libraries within the block: without their noise, fast, and with a MachineError where one is broken.

    Importing torch and diffusers creates millions of objects that stay. Looking through them for garbage takes a
    sixth of the time that the imports take, and as long again when Python ends; so they are left out of it for good.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with quiet():
            yield
        gc.freeze()
    except (ImportError, OSError, RuntimeError) as error:
        # torchvision for another torch raises RuntimeError, a library without its own libraries OSError.
        reason = " ".join(str(error).split())
        raise MachineError(f"torch or diffusers cannot be imported: {reason}", hint="imggen doctor") from error
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' warnings away from the user, unless Python was started with -W or PYTHONWARNINGS.

    What matters in them (missing weights, a prompt cut short, pictures that are not numbers) imggen checks itself.
    """
    if sys.warnoptions:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
