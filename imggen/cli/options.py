"""The options that commands share. Whatever a preset may set is None at the edge, so that layers can fill it."""

from typing import Annotated, Final

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

# Words without quotes are several arguments, which are taken so that the answer can say what to type.
Prompt = Annotated[
    list[str] | None, typer.Argument(metavar="PROMPT", help="What the picture shows; - is standard input.")
]
PromptOption = Annotated[
    str | None,
    typer.Option("-p", "--prompt", metavar="TEXT", help="The prompt, as an option.", rich_help_panel=PROMPT),
]
Image = Annotated[str, typer.Argument(metavar="IMAGE", help="The input image; - is standard input.")]
Parents = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="The parents, one or more.")]
About = Annotated[
    str | None,
    typer.Option("-p", "--prompt", metavar="TEXT", help="A prompt for the children.", rich_help_panel=PROMPT),
]
Strength = Annotated[
    float | None,
    typer.Option(
        "--strength",
        metavar="0-1",
        help="Denoising strength: low keeps the input, 1 ignores it.",
        rich_help_panel=PROMPT,
    ),
]
ImageGuidance = Annotated[
    float | None,
    typer.Option(
        "--image-guidance",
        metavar="1-",
        help="Image guidance scale, for models that edit by instruction.",
        rich_help_panel=PROMPT,
    ),
]
Fitting = Annotated[
    Fit | None,
    typer.Option("--fit", help="Fit of the input into another size; its own size by default.", rich_help_panel=PROMPT),
]
Frame = Annotated[
    int | None,
    typer.Option("--frame", metavar="N", help="Frame of an animation, or page, from 1.", rich_help_panel=PROMPT),
]
Mask = Annotated[
    str | None, typer.Option("--mask", metavar="FILE", help="Mask image: white is repainted.", rich_help_panel=PROMPT)
]
MaskBox = Annotated[
    str | None,
    typer.Option("--mask-box", metavar="X,Y,W,H", help="Masked rectangle, in pixels.", rich_help_panel=PROMPT),
]
InvertMask = Annotated[
    bool | None,
    typer.Option(
        "--invert-mask", help="Mask inverted: black is repainted.", show_default=False, rich_help_panel=PROMPT
    ),
]
Feather = Annotated[
    int | None,
    typer.Option(
        "--feather", metavar="PIXELS", help="Feather the mask's edge inwards, in pixels.", rich_help_panel=PROMPT
    ),
]
Paste = Annotated[
    bool | None,
    typer.Option(
        "--paste/--no-paste",
        help="Unmasked pixels: keep them bit for bit, or take the model's.",
        show_default=False,
        rich_help_panel=PROMPT,
    ),
]
Pad = Annotated[
    str | None,
    typer.Option(
        "--pad",
        metavar="T,R,B,L",
        help="Padding in pixels: top, right, bottom, left, or one number for all.",
        rich_help_panel=PROMPT,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="W,...", help="Weights of the parents, which add up to 1.", rich_help_panel=PROMPT
    ),
]
Mutate = Annotated[
    float | None,
    typer.Option(
        "--mutate",
        metavar="0-1",
        help="Mutation: share of fresh noise; 0.2, or 0 for parents without recipes.",
        rich_help_panel=PROMPT,
    ),
]
Like = Annotated[
    str | None, typer.Option("--like", metavar="FILE", help="Style reference image.", rich_help_panel=PROMPT)
]
IpAdapter = Annotated[
    str | None,
    typer.Option(
        "--ip-adapter",
        metavar="IMAGE[:SCALE]",
        help="Image prompt, by an IP-Adapter.",
        rich_help_panel=ADAPTERS,
    ),
]
IpAdapterWeights = Annotated[
    str | None,
    typer.Option(
        "--ip-adapter-weights",
        metavar="REF[:SCALE]",
        help="IP-Adapter weights; the family's usual ones by default.",
        rich_help_panel=ADAPTERS,
    ),
]
IpAdapterEncoder = Annotated[
    str | None,
    typer.Option(
        "--ip-adapter-encoder",
        metavar="REF",
        help="Image encoder of the IP-Adapter; the one beside its weights by default.",
        rich_help_panel=ADAPTERS,
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="REF[:SCALE]", help="A LoRA; may be repeated.", rich_help_panel=ADAPTERS),
]
Embedding = Annotated[
    list[str] | None,
    typer.Option(
        "--embedding",
        "--textual-inversion",
        metavar="REF[:TOKEN]",
        help="A textual inversion embedding; may be repeated.",
        rich_help_panel=ADAPTERS,
    ),
]
Vae = Annotated[
    str | None,
    typer.Option(
        "--vae", metavar="REF", help="Autoencoder (VAE) in place of the model's own.", rich_help_panel=ADAPTERS
    ),
]
Control = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        metavar="NAME:IMAGE[:SCALE]",
        help="A ControlNet (canny, ..., or its REF) and its control image; may be repeated.",
        rich_help_panel=ADAPTERS,
        autocompletion=suggestions.controls,
    ),
]
Preprocess = Annotated[
    bool | None,
    typer.Option(
        "--preprocess/--no-preprocess",
        help="Control images are made from photographs first.",
        show_default=False,
        rich_help_panel=ADAPTERS,
    ),
]
DepthWeights = Annotated[
    str | None,
    typer.Option(
        "--depth-weights",
        metavar="REF",
        help="Depth estimator; Depth Anything V2 small by default.",
        rich_help_panel=ADAPTERS,
    ),
]
ControlKind = Annotated[
    str, typer.Argument(metavar="KIND", help="canny, depth or tile.", autocompletion=suggestions.control_kinds)
]
Photograph = Annotated[str, typer.Argument(metavar="IMAGE", help="The photograph; - is standard input.")]
ControlFile = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="A PNG, or - for standard output; IMAGE-KIND.png by default.",
        rich_help_panel=OUTPUT,
    ),
]
Wildcards = Annotated[
    str | None,
    typer.Option(
        "--wildcards",
        metavar="FOLDER",
        help="Wildcard files: __NAME__ in a prompt reads NAME.txt.",
        rich_help_panel=PROMPT,
    ),
]
PromptSyntax = Annotated[
    Syntax | None,
    typer.Option(
        "--prompt-syntax",
        help="Prompt syntax: auto reads (weights:1.2), {a|b} and __NAME__; plain reads none.",
        rich_help_panel=PROMPT,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="REF",
        help="Base model that completes this one: a single file's configs, a decoder's prior.",
        rich_help_panel=MODEL,
        autocompletion=suggestions.models,
    ),
]
Quantizing = Annotated[
    Quantize | None,
    typer.Option(
        "--quantize", help="Quantization of the denoiser: less memory, some loss of quality.", rich_help_panel=MACHINE
    ),
]
Seamless = Annotated[
    Axes | None,
    typer.Option(
        "--tile",
        "--seamless",
        help="Seamless tiling: edges that meet when the picture is repeated.",
        rich_help_panel=SIZE,
    ),
]
NegativePrompt = Annotated[
    str | None,
    typer.Option(
        "-n", "--negative-prompt", metavar="TEXT", help="Negative prompt: what to keep out.", rich_help_panel=PROMPT
    ),
]
Width = Annotated[int | None, typer.Option("-W", "--width", metavar="PIXELS", help="Width.", rich_help_panel=SIZE)]
Height = Annotated[int | None, typer.Option("-H", "--height", metavar="PIXELS", help="Height.", rich_help_panel=SIZE)]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH|NAME",
        help="Width and height, or a name such as 720p.",
        rich_help_panel=SIZE,
        autocompletion=suggestions.sizes_named,
    ),
]
Aspect = Annotated[
    str | None,
    typer.Option(
        "--aspect",
        metavar="W:H",
        help="Aspect ratio: of the native area, or of the input.",
        rich_help_panel=SIZE,
        autocompletion=suggestions.aspects,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", "--num-inference-steps", metavar="N", help="Denoising steps.", rich_help_panel=SIZE),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "-g",
        "--guidance",
        "--guidance-scale",
        "--cfg-scale",
        metavar="SCALE",
        help="Guidance scale (CFG): weight of the prompt.",
        rich_help_panel=SIZE,
    ),
]
Seed = Annotated[
    str | None,
    typer.Option(
        "-s", "--seed", metavar="SEED", help="Seeds: 42, 1,2,3, 1-4 or random; one picture each.", rich_help_panel=SIZE
    ),
]
NumImages = Annotated[
    int | None,
    typer.Option(
        "-N",
        "--num-images",
        "--batch-count",
        metavar="N",
        help="Number of pictures; seeds count up.",
        rich_help_panel=SIZE,
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="Sampler: default, euler, euler_a, dpmpp_2m, unipc, ddim, ...",
        rich_help_panel=SIZE,
        autocompletion=suggestions.samplers,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="REF",
        help="Model: builtin, a folder, a file or a hub id.",
        rich_help_panel=MODEL,
        autocompletion=suggestions.models,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME|FILE",
        help="Preset to start from; `imggen presets list` has them.",
        rich_help_panel=MODEL,
        autocompletion=suggestions.presets,
    ),
]
FromFile = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="FILE", help="Picture whose recipe fills every option left out.", rich_help_panel=MODEL
    ),
]
Offline = Annotated[
    bool | None,
    typer.Option("--offline/--online", help="Offline: downloads are off.", show_default=False, rich_help_panel=MODEL),
]
AllowPickle = Annotated[
    bool | None,
    typer.Option(
        "--allow-pickle",
        help="Pickled weights, which can run code: only from sources that you trust.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="Output: a file, a folder/, out/{seed}.png, or -.",
        rich_help_panel=OUTPUT,
    ),
]
Format = Annotated[
    ImageFormat | None,
    typer.Option("--format", help="File format; by the file's name when left out.", rich_help_panel=OUTPUT),
]
_LOSSY = formats.either((name for name, written in FORMATS.items() if not written.lossless), "and")
Quality = Annotated[
    int | None, typer.Option("--quality", metavar="1-100", help=f"Quality of {_LOSSY}.", rich_help_panel=OUTPUT)
]
Exists = Annotated[
    IfExists | None,
    typer.Option(
        "--if-exists",
        help="Existing files: auto replaces imggen's own and refuses the rest.",
        rich_help_panel=OUTPUT,
    ),
]
MetadataKept = Annotated[
    Metadata | None,
    typer.Option("--metadata", help="Metadata in the file.", rich_help_panel=OUTPUT),
]
Watermark = Annotated[
    Watermarking | None,
    typer.Option("--watermark", help="Watermark, invisible in the pixels.", rich_help_panel=MARKS),
]
Sign = Annotated[
    Signing | None,
    typer.Option("--sign", help="Signature (C2PA); auto signs once `imggen keys init` was run.", rich_help_panel=MARKS),
]
Label = Annotated[
    str | None,
    typer.Option("--label", metavar="TEXT", help="Visible label in a corner, such as AI.", rich_help_panel=MARKS),
]
RecordPrompt = Annotated[
    PromptRecord | None,
    typer.Option("--record-prompt", help="Prompt in the metadata.", rich_help_panel=MARKS),
]
Alt = Annotated[
    str | None,
    typer.Option(
        "--alt", metavar="TEXT", help="Alternative text, for those who cannot see the picture.", rich_help_panel=MARKS
    ),
]
TrainingMining = Annotated[
    Mining | None,
    typer.Option(
        "--training-mining", help="Permission to train models on the picture, in its metadata.", rich_help_panel=MARKS
    ),
]
Policy = Annotated[
    str | None,
    typer.Option("--policy", metavar="FILE", help="Policy file; IMGGEN_POLICY names one too.", rich_help_panel=MARKS),
]
Consent = Annotated[
    bool | None,
    typer.Option(
        "--i-have-rights",
        help="Consent: you have the rights to the input pictures.",
        show_default=False,
        rich_help_panel=MARKS,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cuda|mps|cpu",
        help="Device to compute on.",
        rich_help_panel=MACHINE,
        autocompletion=suggestions.devices,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", metavar="auto|float32|bfloat16|float16", help="Precision of the weights.", rich_help_panel=MACHINE
    ),
]
Slicing = Annotated[
    AttentionSlicing | None,
    typer.Option(
        "--attention-slicing", help="Attention slicing: less memory, the same picture.", rich_help_panel=MACHINE
    ),
]
Offloading = Annotated[
    Offload | None,
    typer.Option("--offload", help="Offloading of idle parts from the accelerator.", rich_help_panel=MACHINE),
]
Tiling = Annotated[
    VaeTiling | None,
    typer.Option("--vae-tiling", help="VAE tiling: decoding in tiles, for large pictures.", rich_help_panel=MACHINE),
]
Json = Annotated[
    bool, typer.Option("--json", help="JSON: one object per result on standard output.", rich_help_panel=OUTPUT)
]
Print0 = Annotated[
    bool,
    typer.Option("--print0", help="Paths end with a null byte, for xargs -0.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes.", rich_help_panel=OUTPUT)]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Decisions too, and why.", rich_help_panel=OUTPUT)]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan only; --json prints all of it.", rich_help_panel=OUTPUT),
]
Preview = Annotated[bool, typer.Option("--preview", help="Preview in the terminal.", rich_help_panel=OUTPUT)]
