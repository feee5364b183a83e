"""How given pictures enter a pipeline's call: one way per method, everything else is as from words."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from imggen.engine.pipeline import controlnets, encoding
from imggen.engine.sampling import blending, breeding, style_transfer
from imggen.engine.sampling.breeding import Gene
from imggen.engine.sampling.prompt_weighting import Text
from imggen.plan.schema.change import Method
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.request import GeneratePlan

Enter = Callable[[torch.Generator], AbstractContextManager[dict[str, Any]]]
"""From a picture's own generator to a block in which the pipeline is called with what the block yields."""

# Of 255, by which a sheet of paper may differ that was scanned or stored as JPEG.
_PAPER_LEVELS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The given pictures as the pipeline sees them: RGB at the size of the plan's canvas.

    `images` are the picture that is changed (RGBA for a model that looks at its transparency), or the parents; `mask`
    (L) is white where it is repainted; `style` is of any size, RGBA where some of it does not show, and so is `shown`,
    which the model sees beside the words. `controls` are followed, one by each of the plan's ControlNets.
    """

    images: tuple[Image.Image, ...] = ()
    mask: Image.Image | None = None
    style: Image.Image | None = None
    controls: tuple[Image.Image, ...] = ()
    shown: Image.Image | None = None


def plain(_: torch.Generator) -> AbstractContextManager[dict[str, Any]]:
    """Return a block that adds nothing: a picture from words alone."""
    return nullcontext({})


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """How given pictures come into a call, and whether what is made of them may honestly be of one colour.

    `texts` are the prompts that come with them, in place of the plan's own.
    """

    enter: Enter = plain
    may_be_plain: bool = False
    texts: tuple[Text, ...] = ()


WORDS_ALONE: Final = Entrance()


def prepare(pipeline: Any, plan: GeneratePlan, pictures: Pictures) -> Entrance:
    """Return how the given pictures enter each call of `plan`; what all calls share is computed once, in the first."""
    if plan.change is None:
        return Entrance(enter=_accompanied(plain, plan, pictures))
    enter = _ENTRANCES[plan.change.method](pipeline, plan, pictures)
    return Entrance(enter=_accompanied(enter, plan, pictures), may_be_plain=_is_plain(pictures), texts=_texts(plan))


def _texts(plan: GeneratePlan) -> tuple[Text, ...]:
    if plan.change is None or plan.change.method != "noise-and-words":
        return ()
    founders = chain.from_iterable(gene.founders() for gene in _genes(plan))
    words = chain.from_iterable(founder.words for founder in founders)
    return tuple(text for text in words if isinstance(text, Text))


def _genes(plan: GeneratePlan) -> tuple[Gene, ...]:
    parents = [parent for parent in plan.given if parent.role == "parent"]
    pairs = zip(parents, plan.weights, strict=True)
    return tuple(gene(parent.recipe, weight) for parent, weight in pairs if parent.recipe is not None)


def _accompanied(enter: Enter, plan: GeneratePlan, pictures: Pictures) -> Enter:
    """Return `enter` with what stands beside the words besides: control pictures, and the one that is shown."""
    beside: dict[str, Any] = {}
    if plan.control_argument is not None:
        controls = pictures.controls
        beside[plan.control_argument] = controls[0] if len(controls) == 1 else list(controls)
    if pictures.shown is not None:
        beside["ip_adapter_image"] = _on_white(pictures.shown)
    if not beside and not plan.picture_arguments:
        return enter

    @contextmanager
    def entered(generator: torch.Generator) -> Iterator[dict[str, Any]]:
        # Some pipelines encode control pictures with torch's own generator.
        with controlnets.seeded(generator.initial_seed()), enter(generator) as arguments:
            yield arguments | beside

    return entered


def _is_plain(pictures: Pictures) -> bool:
    """Return whether all given pictures are of one colour, or nearly, where a mask leaves them as they are."""
    colours = [np.asarray(image.convert("RGB")).reshape(-1, 3) for image in pictures.images]
    if pictures.mask is not None:
        outside = np.asarray(pictures.mask).reshape(-1) == 0
        colours = [pixels[outside] for pixels in colours]
    return bool(colours) and all(
        len(pixels) > 0 and np.ptp(pixels, axis=0).max() <= _PAPER_LEVELS for pixels in colours
    )


def _from_image(_: Any, __: GeneratePlan, pictures: Pictures) -> Enter:
    return lambda _: nullcontext({"image": pictures.images[0]})


def _inpainting(_: Any, plan: GeneratePlan, pictures: Pictures) -> Enter:
    # The pipelines want a mask of black and white; where it runs out is for the one who pastes.
    mask = _solid(pictures)
    names = plan.picture_arguments or ("image", plan.family.mask_argument)
    return lambda _: nullcontext(dict(zip(names, (pictures.images[0], mask), strict=True)))


def _latent_blending(pipeline: Any, _: GeneratePlan, pictures: Pictures) -> Enter:
    mask = _solid(pictures)

    @contextmanager
    def enter(_: torch.Generator) -> Iterator[dict[str, Any]]:
        with blending.masked(pipeline, mask) as on_step:
            yield {"image": pictures.images[0], "callback_on_step_end": on_step}

    return enter


def _solid(pictures: Pictures) -> Image.Image:
    if pictures.mask is None:
        raise TypeError("a method that repaints needs a mask")
    return pictures.mask.point(lambda value: 255 if value else 0)


def _noise_and_words(pipeline: Any, plan: GeneratePlan, _: Pictures) -> Enter:
    genes = _genes(plan)
    mutation = plan.change.mutation if plan.change else 0.0
    unsaid = plan.family.extra_arguments.get("negative_prompt")
    words = unsaid if isinstance(unsaid, str) else None

    @contextmanager
    def enter(_: torch.Generator) -> Iterator[dict[str, Any]]:
        with breeding.crossed(pipeline, genes, mutation=mutation, unsaid=words):
            yield {}

    return enter


def gene(recipe: Recipe, weight: float) -> Gene:
    """Return what a picture made by `recipe` passes on, through all the generations that it knows of."""
    parents = tuple(
        gene(ingredient.recipe, ingredient.weight)
        for ingredient in recipe.ingredients
        if ingredient.recipe is not None and ingredient.weight is not None
    )
    return Gene(
        seed=recipe.seed,
        prompt=Text(recipe.prompt, recipe.reading),
        negative_prompt=Text(recipe.negative_prompt, recipe.reading),
        weight=weight,
        parents=parents,
        mutation=recipe.change.mutation if recipe.change else 0.0,
    )


def _latents(pipeline: Any, plan: GeneratePlan, pictures: Pictures) -> Enter:
    @cache
    def mixed() -> torch.Tensor:
        return breeding.mix_pictures([encoding.encode(pipeline, image) for image in pictures.images], plan.weights)

    mutation = plan.change.mutation if plan.change else 0.0

    @contextmanager
    def enter(generator: torch.Generator) -> Iterator[dict[str, Any]]:
        child = breeding.mutate_picture(mixed(), mutation, generator)
        with encoding.replaced(encoding.autoencoder(pipeline), child):
            yield {"image": pictures.images[0]}

    return enter


def _statistics(pipeline: Any, _: GeneratePlan, pictures: Pictures) -> Enter:
    """Start from the picture with its colours and latents matched to those of the style (AdaIN)."""
    content, style = pictures.images[0], _style(pictures)

    @cache
    def matched() -> torch.Tensor:
        coloured = style_transfer.transfer_colours(content, style)
        fitted = style.resize(content.size, Image.Resampling.LANCZOS)
        latents = encoding.encode(pipeline, _on_white(fitted))
        return style_transfer.match(
            encoding.encode(pipeline, coloured), latents, style_transfer.visible(fitted, latents)
        )

    @contextmanager
    def enter(_: torch.Generator) -> Iterator[dict[str, Any]]:
        with encoding.replaced(encoding.autoencoder(pipeline), matched()):
            yield {"image": content}

    return enter


def _ip_adapter(_: Any, __: GeneratePlan, pictures: Pictures) -> Enter:
    return lambda _: nullcontext({"image": pictures.images[0], "ip_adapter_image": _on_white(_style(pictures))})


def _reference(_: Any, plan: GeneratePlan, pictures: Pictures) -> Enter:
    """Show the pictures to a model that looks at them while it draws from noise."""
    reference = plan.family.reference
    is_transparent = reference is not None and reference.transparent
    argument = "image" if reference is None else reference.argument
    styles = () if pictures.style is None else (pictures.style if is_transparent else _on_white(pictures.style),)
    is_list = bool(styles) or argument == "images"

    @contextmanager
    def enter(generator: torch.Generator) -> Iterator[dict[str, Any]]:
        # JoyImage-Edit encodes what it looks at with torch's own generator. In a list, Qwen-Image-Edit would not fit
        # the only picture to what it reads.
        with controlnets.seeded(generator.initial_seed()):
            yield {argument: [pictures.images[0], *styles] if is_list else pictures.images[0]}

    return enter


def _style(pictures: Pictures) -> Image.Image:
    if pictures.style is None:
        raise TypeError("a style needs a picture that has it")
    return pictures.style


def _on_white(image: Image.Image) -> Image.Image:
    # No model knows transparency; given pictures that are changed were laid on white too.
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


_ENTRANCES: Final[dict[Method, Callable[[Any, GeneratePlan, Pictures], Enter]]] = {
    "image-to-image": _from_image,
    "inpainting": _inpainting,
    "latent-blending": _latent_blending,
    "noise-and-words": _noise_and_words,
    "latents": _latents,
    "statistics": _statistics,
    "ip-adapter": _ip_adapter,
    "reference": _reference,
}
