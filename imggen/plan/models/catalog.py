"""Which model family a model belongs to, and what follows from the two of them."""

from collections.abc import Mapping
from typing import Final

from imggen.errors import ModelError
from imggen.plan.models import families, priors, unlisted
from imggen.plan.models.samplers import Prediction
from imggen.plan.schema.family import AUTOENCODERS, Family
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.request import ModelFacts

FAMILIES: Final = families.FAMILIES
_FORMER = {"LuminaText2ImgPipeline": "LuminaPipeline", "Lumina2Text2ImgPipeline": "Lumina2Pipeline"}
"""What published models call pipelines that diffusers has under another name by now."""
_LEVELS = ("block_out_channels", "encoder_block_out_channels", "dim_mult")


def find(facts: ModelFacts) -> Family:
    """Return the family that the model's pipeline class belongs to.

    Of a class that no row names, it is what diffusers' own signature says (`unlisted`); raise ModelError for one that
    imggen cannot use, and why.
    """
    for row in FAMILIES:
        if facts.pipeline in row.pipelines.values() and _is_narrowed(row, facts):
            return row
    priors.refuse_prior(facts.reference, facts.pipeline)
    priors.refuse_decoder(facts.reference, facts.pipeline)
    read = unlisted.family(facts.pipeline)
    if isinstance(read, Family):
        return read
    known = sorted({name for family in FAMILIES for name in family.pipelines.values()})
    guess = nearest(facts.pipeline, known)
    hint = "imggen models families lists what imggen knows"
    raise ModelError(
        f"{facts.reference}: imggen does not know the pipeline class {facts.pipeline!r}, and {read}",
        hint=f"{hint}; the nearest is {guess[0]}" if guess else hint,
    )


def _is_narrowed(row: Family, facts: ModelFacts) -> bool:
    """Return whether the model's configs and options say what `when` of the row does."""
    settings = facts.options | facts.configs.get("scheduler", {}) | facts.configs.get(row.denoiser, {})
    for part, config in facts.configs.items():
        settings = settings | {f"{part}.{key}": value for key, value in config.items()}
    return all(settings.get(key) == value for key, value in row.when.items())


def current_name(pipeline: str) -> str:
    """Return what diffusers calls a pipeline class now that a folder may know under its former name."""
    return _FORMER.get(pipeline, pipeline)


def named(name: str) -> Family:
    """Return the family called `name`; raise ModelError for one that neither a row nor diffusers knows."""
    for family in FAMILIES:
        if family.name == name:
            return family
    read = unlisted.family(name)
    if isinstance(read, Family):
        return read
    raise ModelError(f"unknown model family {name!r}", hint=f"one of: {', '.join(family.name for family in FAMILIES)}")


def autoencoder(facts: ModelFacts) -> str | None:
    """Return the name of the part that turns latents into pixels, None for a model that draws pixels itself."""
    return next((name for name in AUTOENCODERS if name in facts.components or name in facts.configs), None)


def autoencoder_class(facts: ModelFacts) -> str | None:
    """Return the class of that part, None where there is none."""
    name = autoencoder(facts)
    return facts.components.get(name or "", (None, None))[1]


def autoencoder_config(facts: ModelFacts) -> Mapping[str, object]:
    """Return the config of that part, empty where there is none."""
    return facts.configs.get(autoencoder(facts) or "", {})


def vae_scale(facts: ModelFacts) -> int:
    """Return the number of pixels per latent along an edge: two per level of the autoencoder but the first.

    Of a model without an autoencoder the pixels are what it draws: 1.
    """
    if autoencoder(facts) is None:
        return 1
    config = autoencoder_config(facts)
    unshuffled, halved = config.get("up_down_scale_factor"), config.get("levels")
    if isinstance(unshuffled, int) and isinstance(halved, int):
        return int(unshuffled * 2 ** (halved - 1))
    levels = [value for value in map(config.get, _LEVELS) if isinstance(value, list) and value]
    if not levels:
        return 8
    # Before the first one, autoencoders of Wan 2.2 may lay pixels together.
    patch = config.get("patch_size")
    return int(2 ** (len(levels[0]) - 1)) * (patch if isinstance(patch, int) else 1)


def multiple_of(family: Family, facts: ModelFacts) -> int:
    """Return what a picture's edges must be multiples of, in pixels; diffusers wants 8 or more of every U-Net."""
    return max(8, vae_scale(facts) * family.patch * family.block)


def cell(family: Family, facts: ModelFacts) -> int:
    """Return the edge in pixels of what the model repaints as a whole: a latent, or those of one token."""
    return max(8, vae_scale(facts) * family.patch)


def is_inpainting_model(family: Family, facts: ModelFacts) -> bool:
    """Return whether the denoiser wants a mask and a masked picture beside the latents: a model that only repaints."""
    channels = facts.configs.get(family.denoiser, {}).get("in_channels")
    latents = autoencoder_config(facts).get("latent_channels")
    return isinstance(channels, int) and isinstance(latents, int) and channels == 2 * latents + 1


def prediction(family: Family, facts: ModelFacts) -> Prediction:
    """Return what the model's denoiser predicts, from its scheduler's class and config."""
    config = facts.configs.get("scheduler", {})
    if family.own_sampler:
        return "own"
    if family.hands_over_mu:
        return "flow_mu" if config.get("use_dynamic_shifting") else "flow_fixed"
    if facts.components.get("scheduler", ("", ""))[1] == "FlowMatchEulerDiscreteScheduler":
        return "flow_own"
    flow = config.get("prediction_type") == "flow_prediction" or bool(config.get("use_flow_sigmas"))
    return "flow" if flow else "noise"
