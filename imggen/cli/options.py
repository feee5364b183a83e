"""The options that commands share. Whatever a preset may set is None at the edge, so that layers can fill it."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from imggen.cli import suggestions
from imggen.plan.schema import formats
from imggen.plan.schema.change import Axes, Fit
from imggen.plan.schema.formats import FORMATS, ImageFormat
from imggen.plan.schema.marking import Mining, PromptRecord, Signing, Watermarking
from imggen.plan.schema.prompt import Syntax
from imggen.plan.schema.request import AttentionSlicing, IfExists, Metadata, Offload, Quantize, VaeTiling

PROMPT: Final = "Prompt and picture"
SIZE: Final = "Size and sampling"
MODEL: Final = "Model"
ADAPTERS: Final = "Adapters"
OUTPUT: Final = "Output"
MARKS: Final = "Marks and rules"
MACHINE: Final = "Machine"

PANELS: Final = (PROMPT, SIZE, MODEL, ADAPTERS, OUTPUT, MARKS, MACHINE)
"""The panels of the help pages, in the order of use."""

COMMON: Final = frozenset(
    {
        *("negative_prompt", "strength", "mask", "mask_box", "pad", "weights", "mutate", "like"),
        *("scale", "to", "size", "aspect", "seed", "num_images", "steps", "guidance"),
        *("model", "lora", "output", "show_preview", "dry_run"),
    }
)
"""The options that the short help page shows, by the names of their parameters."""

Complete = Callable[[str], list[str]]


def option(usage: str, text: str, panel: str | None = None, complete: Complete | None = None, **settings: Any) -> Any:
    """Return an option from its names and metavar as a help page shows them, its help, and its panel of that page."""
    words = usage.split()
    names = [word for word in words if word.startswith("-")]
    metavar = words[-1] if len(words) > len(names) else None
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=panel, autocompletion=complete, **settings)


def argument(metavar: str, text: str, complete: Complete | None = None) -> Any:
    """Return an argument from its name on a help page and its help."""
    return typer.Argument(metavar=metavar, help=text, autocompletion=complete)


# Words without quotes are several arguments, which are taken so that the answer can say what to type.
Prompt = Annotated[list[str] | None, argument("PROMPT", "What the picture shows; - is standard input.")]
PromptOption = Annotated[str | None, option("-p --prompt TEXT", "The prompt, as an option.", PROMPT)]
Image = Annotated[str, argument("IMAGE", "The input image; - is standard input.")]
Parents = Annotated[list[str], argument("IMAGE...", "The parents, one or more.")]
About = Annotated[str | None, option("-p --prompt TEXT", "A prompt for the children.", PROMPT)]
Strength = Annotated[
    float | None, option("--strength 0-1", "Denoising strength: low keeps the input, 1 ignores it.", PROMPT)
]
ImageGuidance = Annotated[
    float | None, option("--image-guidance 1-", "Image guidance scale, for models that edit by instruction.", PROMPT)
]
Fitting = Annotated[Fit | None, option("--fit", "Fit of the input into another size; its own size by default.", PROMPT)]
Frame = Annotated[int | None, option("--frame N", "Frame of an animation, or page, from 1.", PROMPT)]
Mask = Annotated[str | None, option("--mask FILE", "Mask image: white is repainted.", PROMPT)]
MaskBox = Annotated[str | None, option("--mask-box X,Y,W,H", "Masked rectangle, in pixels.", PROMPT)]
InvertMask = Annotated[bool | None, option("--invert-mask", "Mask inverted: black is repainted.", PROMPT)]
Feather = Annotated[int | None, option("--feather PIXELS", "Feather the mask's edge inwards, in pixels.", PROMPT)]
Paste = Annotated[
    bool | None, option("--paste/--no-paste", "Unmasked pixels: keep them bit for bit, or take the model's.", PROMPT)
]
Pad = Annotated[
    str | None, option("--pad T,R,B,L", "Padding in pixels: top, right, bottom, left, or one number for all.", PROMPT)
]
Weights = Annotated[str | None, option("--weights W,...", "Weights of the parents, which add up to 1.", PROMPT)]
Mutate = Annotated[
    float | None,
    option("--mutate 0-1", "Mutation: share of fresh noise; 0.2, or 0 for parents without recipes.", PROMPT),
]
Like = Annotated[str | None, option("--like FILE", "Style reference image.", PROMPT)]
IpAdapter = Annotated[str | None, option("--ip-adapter IMAGE[:SCALE]", "Image prompt, by an IP-Adapter.", ADAPTERS)]
IpAdapterWeights = Annotated[
    str | None,
    option("--ip-adapter-weights REF[:SCALE]", "IP-Adapter weights; the family's usual ones by default.", ADAPTERS),
]
IpAdapterEncoder = Annotated[
    str | None,
    option(
        "--ip-adapter-encoder REF", "Image encoder of the IP-Adapter; the one beside its weights by default.", ADAPTERS
    ),
]
Lora = Annotated[list[str] | None, option("--lora REF[:SCALE]", "A LoRA; may be repeated.", ADAPTERS)]
Embedding = Annotated[
    list[str] | None,
    option("--embedding --textual-inversion REF[:TOKEN]", "A textual inversion embedding; may be repeated.", ADAPTERS),
]
Vae = Annotated[str | None, option("--vae REF", "Autoencoder (VAE) in place of the model's own.", ADAPTERS)]
Control = Annotated[
    list[str] | None,
    option(
        "--control NAME:IMAGE[:SCALE]",
        "A ControlNet (canny, ..., or its REF) and its control image; may be repeated.",
        ADAPTERS,
        suggestions.controls,
    ),
]
Preprocess = Annotated[
    bool | None, option("--preprocess/--no-preprocess", "Control images are made from photographs first.", ADAPTERS)
]
DepthWeights = Annotated[
    str | None, option("--depth-weights REF", "Depth estimator; Depth Anything V2 small by default.", ADAPTERS)
]
ControlKind = Annotated[str, argument("KIND", "canny, depth or tile.", suggestions.control_kinds)]
Photograph = Annotated[str, argument("IMAGE", "The photograph; - is standard input.")]
ControlFile = Annotated[
    str | None, option("-o --output FILE", "A PNG, or - for standard output; IMAGE-KIND.png by default.", OUTPUT)
]
Wildcards = Annotated[
    str | None, option("--wildcards FOLDER", "Wildcard files: __NAME__ in a prompt reads NAME.txt.", PROMPT)
]
PromptSyntax = Annotated[
    Syntax | None,
    option("--prompt-syntax", "Prompt syntax: auto reads (weights:1.2), {a|b} and __NAME__; plain reads none.", PROMPT),
]
Base = Annotated[
    str | None,
    option(
        "--base REF",
        "Base model that completes this one: a single file's configs, a decoder's prior.",
        MODEL,
        suggestions.models,
    ),
]
Quantizing = Annotated[
    Quantize | None, option("--quantize", "Quantization of the denoiser: less memory, some loss of quality.", MACHINE)
]
Seamless = Annotated[
    Axes | None, option("--tile --seamless", "Seamless tiling: edges that meet when the picture is repeated.", SIZE)
]
NegativePrompt = Annotated[
    str | None, option("-n --negative-prompt TEXT", "Negative prompt: what to keep out.", PROMPT)
]
Width = Annotated[int | None, option("-W --width PIXELS", "Width.", SIZE)]
Height = Annotated[int | None, option("-H --height PIXELS", "Height.", SIZE)]
Size = Annotated[
    str | None, option("--size WxH|NAME", "Width and height, or a name such as 720p.", SIZE, suggestions.sizes_named)
]
Aspect = Annotated[
    str | None, option("--aspect W:H", "Aspect ratio: of the native area, or of the input.", SIZE, suggestions.aspects)
]
Steps = Annotated[int | None, option("--steps --num-inference-steps N", "Denoising steps.", SIZE)]
Guidance = Annotated[
    float | None,
    option("-g --guidance --guidance-scale --cfg-scale SCALE", "Guidance scale (CFG): weight of the prompt.", SIZE),
]
Seed = Annotated[str | None, option("-s --seed SEED", "Seeds: 42, 1,2,3, 1-4 or random; one picture each.", SIZE)]
NumImages = Annotated[
    int | None, option("-N --num-images --batch-count N", "Number of pictures; seeds count up.", SIZE)
]
Sampler = Annotated[
    str | None,
    option(
        "--sampler NAME", "Sampler: default, euler, euler_a, dpmpp_2m, unipc, ddim, ...", SIZE, suggestions.samplers
    ),
]
Model = Annotated[
    str | None, option("-m --model REF", "Model: builtin, a folder, a file or a hub id.", MODEL, suggestions.models)
]
Preset = Annotated[
    str | None,
    option("--preset NAME|FILE", "Preset to start from; `imggen presets list` has them.", MODEL, suggestions.presets),
]
FromFile = Annotated[str | None, option("--from FILE", "Picture whose recipe fills every option left out.", MODEL)]
Offline = Annotated[bool | None, option("--offline/--online", "Offline: downloads are off.", MODEL)]
AllowPickle = Annotated[
    bool | None,
    option("--allow-pickle", "Pickled weights, which can run code: only from sources that you trust.", MODEL),
]
Output = Annotated[str | None, option("-o --output PATH", "Output: a file, a folder/, out/{seed}.png, or -.", OUTPUT)]
Format = Annotated[ImageFormat | None, option("--format", "File format; by the file's name when left out.", OUTPUT)]
_LOSSY = formats.either((name for name, written in FORMATS.items() if not written.lossless), "and")
Quality = Annotated[int | None, option("--quality 1-100", f"Quality of {_LOSSY}.", OUTPUT)]
Exists = Annotated[
    IfExists | None, option("--if-exists", "Existing files: auto replaces imggen's own and refuses the rest.", OUTPUT)
]
MetadataKept = Annotated[Metadata | None, option("--metadata", "Metadata in the file.", OUTPUT)]
Watermark = Annotated[Watermarking | None, option("--watermark", "Watermark, invisible in the pixels.", MARKS)]
Sign = Annotated[
    Signing | None, option("--sign", "Signature (C2PA); auto signs once `imggen keys init` was run.", MARKS)
]
Label = Annotated[str | None, option("--label TEXT", "Visible label in a corner, such as AI.", MARKS)]
RecordPrompt = Annotated[PromptRecord | None, option("--record-prompt", "Prompt in the metadata.", MARKS)]
Alt = Annotated[str | None, option("--alt TEXT", "Alternative text, for those who cannot see the picture.", MARKS)]
TrainingMining = Annotated[
    Mining | None, option("--training-mining", "Permission to train models on the picture, in its metadata.", MARKS)
]
Policy = Annotated[str | None, option("--policy FILE", "Policy file; IMGGEN_POLICY names one too.", MARKS)]
Consent = Annotated[
    bool | None, option("--i-have-rights", "Consent: you have the rights to the input pictures.", MARKS)
]
Device = Annotated[
    str | None, option("--device auto|cuda|mps|cpu", "Device to compute on.", MACHINE, suggestions.devices)
]
Dtype = Annotated[str | None, option("--dtype auto|float32|bfloat16|float16", "Precision of the weights.", MACHINE)]
Slicing = Annotated[
    AttentionSlicing | None, option("--attention-slicing", "Attention slicing: less memory, the same picture.", MACHINE)
]
Offloading = Annotated[Offload | None, option("--offload", "Offloading of idle parts from the accelerator.", MACHINE)]
Tiling = Annotated[
    VaeTiling | None, option("--vae-tiling", "VAE tiling: decoding in tiles, for large pictures.", MACHINE)
]
Json = Annotated[bool, option("--json", "JSON: one object per result on standard output.", OUTPUT)]
Print0 = Annotated[bool, option("--print0", "Paths end with a null byte, for xargs -0.", OUTPUT)]
Quiet = Annotated[bool, option("-q --quiet", "No progress and no notes.", OUTPUT)]
Verbose = Annotated[bool, option("-v --verbose", "Decisions too, and why.", OUTPUT)]
DryRun = Annotated[bool, option("--dry-run", "Print the plan only; --json prints all of it.", OUTPUT)]
Preview = Annotated[bool, option("--preview", "Preview in the terminal.", OUTPUT)]
