"""From what was typed, the environment, a preset and the config to one request."""

from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_config_path

from imggen.errors import RequestError
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.settings import preset as presets
from imggen.plan.settings import settings


def config_folder() -> Path:
    """Return the folder of the user's `config.toml` and `presets/`."""
    return user_config_path("imggen", appauthor=False)


def preset_places() -> tuple[Path, ...]:
    """Return the folders that presets are looked for in, the user's own first."""
    return presets.folders(config_folder())


def complete(asked: GenerateRequest, preset: str | None, environ: Mapping[str, str]) -> GenerateRequest:
    """Return `asked` over the environment, over a preset, over the user's config.

    The preset is the one that was typed, else the environment's, else the config's.
    """
    if preset is not None and asked.from_file is not None:
        raise RequestError(
            f"--preset {preset} and --from {asked.from_file} both say how the picture is made",
            hint="leave one of the two out",
        )
    environment = settings.from_environment(environ)
    config = settings.from_config(config_folder())
    request = settings.layer(asked, environment.request)
    chosen = preset or environment.preset or config.preset
    if chosen is not None:
        request = settings.layer(request, presets.find(chosen, preset_places()).request)
    return settings.layer(request, config.request)
