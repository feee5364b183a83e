"""The commands that make pictures.

What they do is in `making`, which is imported when it is done: loading all of it would take help half of its time.
"""

from collections.abc import Callable
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Any, Final

from imggen.cli import manual, options, usage
from imggen.errors import RequestError
from imggen.plan.schema.tasks import Task


def _making(
    negative_prompt: options.NegativePrompt = None,
    width: options.Width = None,
    height: options.Height = None,
    size: options.Size = None,
    aspect: options.Aspect = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    seed: options.Seed = None,
    num_images: options.NumImages = None,
    sampler: options.Sampler = None,
    model: options.Model = None,
    preset: options.Preset = None,
    from_file: options.FromFile = None,
    offline: options.Offline = None,
    allow_pickle: options.AllowPickle = None,
    base: options.Base = None,
    lora: options.Lora = None,
    embedding: options.Embedding = None,
    vae: options.Vae = None,
    wildcards: options.Wildcards = None,
    prompt_syntax: options.PromptSyntax = None,
    output: options.Output = None,
    format: options.Format = None,  # noqa: A002 - the option's name
    quality: options.Quality = None,
    if_exists: options.Exists = None,
    metadata: options.MetadataKept = None,
    watermark: options.Watermark = None,
    sign: options.Sign = None,
    label: options.Label = None,
    record_prompt: options.RecordPrompt = None,
    alt: options.Alt = None,
    training_mining: options.TrainingMining = None,
    policy: options.Policy = None,
    consent: options.Consent = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention_slicing: options.Slicing = None,
    offload: options.Offloading = None,
    quantize: options.Quantizing = None,
    vae_tiling: options.Tiling = None,
    as_json: options.Json = False,
    print0: options.Print0 = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    show_preview: options.Preview = False,
) -> None:
    """Hold the options that every command here has."""


def _guided(
    control: options.Control = None,
    preprocess: options.Preprocess = None,
    depth_weights: options.DepthWeights = None,
    ip_adapter: options.IpAdapter = None,
    ip_adapter_weights: options.IpAdapterWeights = None,
    ip_adapter_encoder: options.IpAdapterEncoder = None,
) -> None:
    """Hold the options of commands that pictures beside the words may guide."""


def _command(
    task: Task, *holders: Callable[..., None], without: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a command for `task` of a function that holds the options of its own.

    The command has these, those of `holders` and of `_making`, but for the ones in `without`, and makes pictures.
    """

    def decorate(own: Callable[..., None]) -> Callable[..., None]:
        def command(**asked: Any) -> None:
            from imggen.cli import making

            making.run(task, asked)

        held = chain.from_iterable(signature(holder).parameters.values() for holder in (own, *holders, _making))
        return manual.described(command, own, [parameter for parameter in held if parameter.name not in without])

    return decorate


@_command("text-to-image", _guided)
def generate(
    prompt: options.Prompt = None,
    prompt_option: options.PromptOption = None,
    tile: options.Seamless = None,
) -> None:
    """Make pictures from a prompt."""


@_command("image-to-image", _guided)
def img2img(
    image: options.Image,
    prompt: options.Prompt = None,
    prompt_option: options.PromptOption = None,
    strength: options.Strength = None,
    image_guidance: options.ImageGuidance = None,
    fit: options.Fitting = None,
    frame: options.Frame = None,
    tile: options.Seamless = None,
) -> None:
    """Redraw a picture after a prompt. --strength says how much of it is redrawn."""


@_command("inpaint", _guided)
def inpaint(
    image: options.Image,
    prompt: options.Prompt = None,
    prompt_option: options.PromptOption = None,
    mask: options.Mask = None,
    mask_box: options.MaskBox = None,
    invert_mask: options.InvertMask = None,
    feather: options.Feather = None,
    paste: options.Paste = None,
    strength: options.Strength = None,
    fit: options.Fitting = None,
    frame: options.Frame = None,
) -> None:
    """Repaint a masked part of a picture. All of its other pixels stay as they are."""


@_command("outpaint", _guided, without=("width", "height", "size", "aspect"))
def outpaint(
    image: options.Image,
    prompt: options.Prompt = None,
    prompt_option: options.PromptOption = None,
    pad: options.Pad = None,
    feather: options.Feather = None,
    paste: options.Paste = None,
    strength: options.Strength = None,
    frame: options.Frame = None,
) -> None:
    """Extend a picture beyond its edges. Its own pixels stay as they are."""


@_command("blend")
def blend(
    images: options.Parents,
    prompt: options.About = None,
    weights: options.Weights = None,
    mutate: options.Mutate = None,
    strength: options.Strength = None,
    fit: options.Fitting = None,
    frame: options.Frame = None,
) -> None:
    """Breed pictures: children of one parent or several."""


@_command("style")
def style(
    image: options.Image,
    prompt: options.Prompt = None,
    prompt_option: options.PromptOption = None,
    like: options.Like = None,
    ip_adapter_weights: options.IpAdapterWeights = None,
    ip_adapter_encoder: options.IpAdapterEncoder = None,
    strength: options.Strength = None,
    fit: options.Fitting = None,
    frame: options.Frame = None,
) -> None:
    """Give a picture the style of another."""


def preprocess(
    kind: options.ControlKind,
    image: options.Photograph,
    output: options.ControlFile = None,
    if_exists: options.Exists = None,
    depth_weights: options.DepthWeights = None,
    offline: options.Offline = None,
    allow_pickle: options.AllowPickle = None,
    consent: options.Consent = None,
    print0: options.Print0 = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a control image from a photograph. It is the one that --preprocess would make."""
    from imggen.cli import console
    from imggen.tasks import preprocess as task

    console.check_output(console.Display(output=output, print0=print0))
    if Path(kind).is_file() and not Path(image).exists():
        raise RequestError("the kind comes first", hint=usage.retyped((kind, image), ([image], [kind])))
    weights = task.Weights(reference=depth_weights, offline=bool(offline), allow_pickle=bool(allow_pickle))
    exists, has_rights = if_exists or "auto", bool(consent)
    with console.progress(quiet=quiet) as bar:
        control = task.preprocess(
            kind, image, output, if_exists=exists, consent=has_rights, weights=weights, on_event=bar.report
        )
    console.notes(control.notes, quiet=quiet)
    path = console.where(control.path, output) if control.path else "standard output"
    console.picture(path, control.data or None, None, print0=print0)


COMMANDS: Final = (
    ("generate", generate, manual.MAKE, 'imggen generate "a red apple" -o apple.png'),
    ("img2img", img2img, manual.CHANGE, 'imggen img2img apple.png "a lemon" --strength 0.7 -o lemon.png'),
    ("inpaint", inpaint, manual.CHANGE, 'imggen inpaint apple.png "a leaf" --mask-box 60,0,40,40 -o leaf.png'),
    ("outpaint", outpaint, manual.CHANGE, 'imggen outpaint apple.png "a table" --pad 0,64,0,64 -o wide.png'),
    ("style", style, manual.CHANGE, "imggen style apple.png --like painting.png -o painted.png"),
    ("blend", blend, manual.CHANGE, "imggen blend apple.png lemon.png -N 4 -o child.png"),
)
"""Of each command its name, its function, where it stands among the others, and the example of its help page."""
