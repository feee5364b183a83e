"""What prompts ask for beyond words: LoRAs by tags, and lines of wildcard files."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from platformdirs import user_config_path

from imggen.errors import ModelError, RequestError
from imggen.output import files
from imggen.plan.case import COMMAND_LINE
from imggen.plan.generation import words
from imggen.plan.schema import template
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.prompt import AS_IT_STANDS
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.schema.template import Files, Tag
from imggen.store import adapter_files, aliases, paths

_SUFFIX: Final = ".txt"
_MOST_BYTES: Final = 16 << 20


def with_loras(request: GenerateRequest) -> GenerateRequest:
    """Return the request with the LoRAs that its prompt asks for by tags, behind those that it has.

    Raise RequestError for prompts that cannot be read, ModelError for a LoRA that is not here.
    """
    by_field = words.templates(request)
    negative = by_field.get("negative_prompt")
    if negative is not None and negative.tags:
        raise RequestError(
            f"the negative prompt asks for the LoRA {negative.tags[0].name!r}, which is added to the model and not to "
            "words",
            hint="put the tag into the prompt, with a scale below 0 where it shall work the other way",
        )
    tags = by_field["prompt"].tags if "prompt" in by_field else ()
    if not tags:
        return request
    loras = (*(request.lora or ()), *(f"{_checked(tag)}:{tag.scale or 1}" for tag in tags))
    return replace(request, lora=loras, origin=request.origin | {"lora": request.origin.get("prompt", COMMAND_LINE)})


def _checked(tag: Tag) -> str:
    name = tag.name
    named = "/" in name or aliases.real(name) != name
    if not named and not paths.at_home(name).exists() and adapter_files.of_the_user(name) is None:
        folder = adapter_files.lora_folder()
        known = sorted(path.stem for path in folder.glob("*.safetensors")) if folder.is_dir() else []
        guess = nearest(name, known)
        raise ModelError(
            f"<lora:{name}>: there is no {name}.safetensors in {folder}, no such file and no such alias",
            hint=f"<lora:{guess[0]}>" if guess else "put it there, or name a file: <lora:./style.safetensors:0.7>",
        )
    return name


def wildcards(request: GenerateRequest) -> Files:
    """Return the lines that the request's prompts choose from; raise RequestError for files that cannot be used.

    They lie in the folder that it names, else in `wildcards` of the user's config folder.
    """
    if request.wildcards is not None and request.prompt_syntax not in (None, "auto"):
        if request.origin.get("wildcards", COMMAND_LINE) == COMMAND_LINE:
            raise RequestError(
                f"--wildcards {request.wildcards}: --prompt-syntax {request.prompt_syntax} chooses from no files",
                hint="leave one of the two out",
            )
        return {}
    folder = user_config_path("imggen", appauthor=False) / "wildcards"
    if request.wildcards is not None:
        folder = paths.at_home(request.wildcards)
    collected = template.collect(words.templates(request).values(), partial(_read, folder, request))
    if request.wildcards is not None and not folder.is_dir():
        raise RequestError(
            f"--wildcards {request.wildcards}: there is no such folder", hint="leave --wildcards out, or name another"
        )
    return collected


def _read(folder: Path, request: GenerateRequest, name: str) -> tuple[str, str]:
    path = folder / f"{name}{_SUFFIX}"
    if not path.is_file():
        raise _missing(folder, request, name)
    if path.stat().st_size > _MOST_BYTES:
        raise RequestError(f"{path} is larger than 16 MiB, which is too large for a list of words")
    data = files.read(path) or b""
    try:
        return str(path), data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8: {error}", hint="save it in UTF-8") from error


def _missing(folder: Path, request: GenerateRequest, name: str) -> RequestError:
    if not folder.is_dir():
        option = "" if request.wildcards is None else f"--wildcards {request.wildcards}: "
        return RequestError(
            f"{option}__{name}__ is a line of {name}{_SUFFIX}, and there is no folder {folder}",
            hint=f"--wildcards FOLDER, or {AS_IT_STANDS} for words as they stand",
        )
    known = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob(f"*{_SUFFIX}"))]
    guess = nearest(name, known)
    return RequestError(
        f"__{name}__: there is no {folder / (name + _SUFFIX)}",
        hint=f"the nearest is __{guess[0]}__" if guess else f"\\__{name}\\__ are the words themselves",
    )
