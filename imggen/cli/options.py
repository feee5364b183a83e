"""The options that commands share. Whatever a preset may set is None at the edge, so that layers can fill it."""

from typing import Annotated

import typer

from imggen.cli import suggestions
from imggen.plan.schema import formats
from imggen.plan.schema.change import Axes, Fit
from imggen.plan.schema.formats import FORMATS, ImageFormat
from imggen.plan.schema.marking import Mining, PromptRecord, Signing, Watermarking
from imggen.plan.schema.prompt import Syntax
from imggen.plan.schema.request import AttentionSlicing, IfExists, Metadata, Offload, Quantize, VaeTiling

PICTURE = "Picture"
GIVEN = "Given pictures"
MODEL = "Model"
ADAPTERS = "Adapters"
FILES = "Files"
MARKS = "Marks and rules"
MACHINE = "Machine"
SHOW = "What is shown"

Prompt = Annotated[
    str | None, typer.Argument(metavar="PROMPT", help="What the picture shows; - reads it from standard input.")
]
Image = Annotated[str, typer.Argument(metavar="IMAGE", help="The picture to start from; - is standard input.")]
Parents = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="The parents, one or more.")]
About = Annotated[
    str | None,
    typer.Option("-p", "--prompt", metavar="TEXT", help="What the children show.", rich_help_panel=PICTURE),
]
Strength = Annotated[
    float | None,
    typer.Option("--strength", metavar="0-1", help="How much is made anew: 1 is all of it.", rich_help_panel=GIVEN),
]
ImageGuidance = Annotated[
    float | None,
    typer.Option(
        "--image-guidance",
        metavar="1-",
        help="How much it holds against the words, with models that edit it by an instruction.",
        rich_help_panel=GIVEN,
    ),
]
Fitting = Annotated[
    Fit | None,
    typer.Option("--fit", help="How it fills another size; its own is kept by default.", rich_help_panel=GIVEN),
]
Frame = Annotated[
    int | None,
    typer.Option("--frame", metavar="N", help="Of an animation or several pages, from 1.", rich_help_panel=GIVEN),
]
Mask = Annotated[str | None, typer.Option("--mask", metavar="FILE", help="White is repainted.", rich_help_panel=GIVEN)]
MaskBox = Annotated[
    str | None,
    typer.Option("--mask-box", metavar="X,Y,W,H", help="The area to repaint, in pixels.", rich_help_panel=GIVEN),
]
InvertMask = Annotated[
    bool | None,
    typer.Option("--invert-mask", help="Repaint the rest.", show_default=False, rich_help_panel=GIVEN),
]
Feather = Annotated[
    int | None,
    typer.Option(
        "--feather", metavar="PIXELS", help="Let the new part run out inside the mask.", rich_help_panel=GIVEN
    ),
]
Paste = Annotated[
    bool | None,
    typer.Option(
        "--paste/--no-paste",
        help="Keep the rest bit for bit, or take what the model makes of it.",
        show_default=False,
        rich_help_panel=GIVEN,
    ),
]
Pad = Annotated[
    str | None,
    typer.Option(
        "--pad",
        metavar="T,R,B,L",
        help="Pixels to add: top, right, bottom, left; one number is all four.",
        rich_help_panel=GIVEN,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="W,...", help="Each parent's part; 1 in all.", rich_help_panel=GIVEN),
]
Mutate = Annotated[
    float | None,
    typer.Option(
        "--mutate",
        metavar="0-1",
        help="How much of a child is new: 0.2, or 0 for parents without recipes.",
        rich_help_panel=GIVEN,
    ),
]
Like = Annotated[
    str | None, typer.Option("--like", metavar="FILE", help="The picture that has the style.", rich_help_panel=GIVEN)
]
IpAdapter = Annotated[
    str | None,
    typer.Option(
        "--ip-adapter",
        metavar="IMAGE[:SCALE]",
        help="A picture that is shown to the model beside the words.",
        rich_help_panel=ADAPTERS,
    ),
]
IpAdapterWeights = Annotated[
    str | None,
    typer.Option(
        "--ip-adapter-weights",
        metavar="REF[:SCALE]",
        help="The weights that show it; the family's usual ones by default.",
        rich_help_panel=ADAPTERS,
    ),
]
IpAdapterEncoder = Annotated[
    str | None,
    typer.Option(
        "--ip-adapter-encoder",
        metavar="REF",
        help="The image encoder that they look through; the one beside them by default.",
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
        help="A word that was learnt; may be repeated.",
        rich_help_panel=ADAPTERS,
    ),
]
Vae = Annotated[
    str | None,
    typer.Option("--vae", metavar="REF", help="Another autoencoder than the model's own.", rich_help_panel=ADAPTERS),
]
Control = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        metavar="NAME:IMAGE[:SCALE]",
        help="A ControlNet (canny, ..., or its REF) and its picture; may be repeated.",
        rich_help_panel=ADAPTERS,
    ),
]
Preprocess = Annotated[
    bool | None,
    typer.Option(
        "--preprocess/--no-preprocess",
        help="Make the control pictures out of photographs first.",
        show_default=False,
        rich_help_panel=ADAPTERS,
    ),
]
DepthWeights = Annotated[
    str | None,
    typer.Option(
        "--depth-weights",
        metavar="REF",
        help="What measures depth; Depth Anything V2 small by default.",
        rich_help_panel=ADAPTERS,
    ),
]
ControlKind = Annotated[str, typer.Argument(metavar="KIND", help="canny, depth or tile.")]
Photograph = Annotated[str, typer.Argument(metavar="IMAGE", help="The photograph; - is standard input.")]
ControlFile = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="A PNG, or - for standard output; IMAGE-KIND.png by default.",
        rich_help_panel=FILES,
    ),
]
Wildcards = Annotated[
    str | None,
    typer.Option(
        "--wildcards", metavar="FOLDER", help="Where __NAME__ in a prompt finds NAME.txt.", rich_help_panel=PICTURE
    ),
]
PromptSyntax = Annotated[
    Syntax | None,
    typer.Option(
        "--prompt-syntax",
        help="auto reads (weights:1.2), {a|b} and __NAME__; plain takes all words as they stand.",
        rich_help_panel=PICTURE,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="REF",
        help="What completes a model that is not whole: a single file's configs, a decoder's prior.",
        rich_help_panel=MODEL,
        autocompletion=suggestions.models,
    ),
]
Quantizing = Annotated[
    Quantize | None,
    typer.Option("--quantize", help="Store the denoiser smaller; loses some quality.", rich_help_panel=MACHINE),
]
Seamless = Annotated[
    Axes | None,
    typer.Option("--tile", "--seamless", help="Edges that meet when it is repeated.", rich_help_panel=PICTURE),
]
NegativePrompt = Annotated[
    str | None,
    typer.Option("-n", "--negative-prompt", metavar="TEXT", help="What it must not show.", rich_help_panel=PICTURE),
]
Width = Annotated[
    int | None, typer.Option("-W", "--width", metavar="PIXELS", help="The width.", rich_help_panel=PICTURE)
]
Height = Annotated[
    int | None, typer.Option("-H", "--height", metavar="PIXELS", help="The height.", rich_help_panel=PICTURE)
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH|NAME",
        help="Width and height, or a name such as native, 720p.",
        rich_help_panel=PICTURE,
        autocompletion=suggestions.sizes_named,
    ),
]
Aspect = Annotated[
    str | None,
    typer.Option(
        "--aspect",
        metavar="W:H",
        help="Shape: at the model's own area, or as large as fits into a given picture.",
        rich_help_panel=PICTURE,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", "--num-inference-steps", metavar="N", help="Denoising steps.", rich_help_panel=PICTURE),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "-g",
        "--guidance",
        "--guidance-scale",
        "--cfg-scale",
        metavar="SCALE",
        help="How closely the prompt is followed.",
        rich_help_panel=PICTURE,
    ),
]
Seed = Annotated[
    str | None,
    typer.Option(
        "-s", "--seed", metavar="SEED", help="42, 1,2,3, 1-4 or random; one picture each.", rich_help_panel=PICTURE
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
        rich_help_panel=PICTURE,
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="default, euler, euler_a, dpmpp_2m, unipc, ddim, ...",
        rich_help_panel=PICTURE,
        autocompletion=suggestions.samplers,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="REF",
        help="builtin, a folder, a file, or a hub id, with @revision.",
        rich_help_panel=MODEL,
        autocompletion=suggestions.models,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME|FILE",
        help="Settings to start from; see `imggen presets list`.",
        rich_help_panel=MODEL,
        autocompletion=suggestions.presets,
    ),
]
FromFile = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="FILE", help="A picture whose recipe fills what is not said.", rich_help_panel=MODEL
    ),
]
Offline = Annotated[
    bool | None,
    typer.Option("--offline/--online", help="Fetch nothing.", show_default=False, rich_help_panel=MODEL),
]
AllowPickle = Annotated[
    bool | None,
    typer.Option(
        "--allow-pickle",
        help="Read weights that can run code; only from sources that you trust.",
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
        help="A file, a folder/, a template such as out/{seed}.png, or - for standard output.",
        rich_help_panel=FILES,
    ),
]
Format = Annotated[
    ImageFormat | None,
    typer.Option("--format", help="By the name of the file when left out.", rich_help_panel=FILES),
]
_LOSSY = formats.either((name for name, written in FORMATS.items() if not written.lossless), "and")
Quality = Annotated[
    int | None, typer.Option("--quality", metavar="1-100", help=f"For {_LOSSY}.", rich_help_panel=FILES)
]
Exists = Annotated[
    IfExists | None,
    typer.Option(
        "--if-exists",
        help="auto replaces what imggen made and refuses the rest.",
        rich_help_panel=FILES,
    ),
]
MetadataKept = Annotated[
    Metadata | None,
    typer.Option("--metadata", help="What the file says of how it was made.", rich_help_panel=FILES),
]
Watermark = Annotated[
    Watermarking | None,
    typer.Option("--watermark", help="auto marks the pixels where it is not seen.", rich_help_panel=MARKS),
]
Sign = Annotated[
    Signing | None,
    typer.Option("--sign", help="auto signs where `imggen keys init` was run.", rich_help_panel=MARKS),
]
Label = Annotated[
    str | None,
    typer.Option("--label", metavar="TEXT", help="Draw it into a corner, such as AI.", rich_help_panel=MARKS),
]
RecordPrompt = Annotated[
    PromptRecord | None,
    typer.Option("--record-prompt", help="How the file tells the prompt.", rich_help_panel=MARKS),
]
Alt = Annotated[
    str | None,
    typer.Option("--alt", metavar="TEXT", help="What the picture shows, for who cannot see it.", rich_help_panel=MARKS),
]
TrainingMining = Annotated[
    Mining | None,
    typer.Option("--training-mining", help="Say whether models may be trained on it.", rich_help_panel=MARKS),
]
Policy = Annotated[
    str | None,
    typer.Option("--policy", metavar="FILE", help="Rules to keep; IMGGEN_POLICY names one too.", rich_help_panel=MARKS),
]
Consent = Annotated[
    bool | None,
    typer.Option(
        "--i-have-rights",
        help="State that you may use the given pictures.",
        show_default=False,
        rich_help_panel=MARKS,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="auto|cuda|mps|cpu", help="Where to compute.", rich_help_panel=MACHINE),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", metavar="auto|float32|bfloat16|float16", help="In which precision.", rich_help_panel=MACHINE
    ),
]
Slicing = Annotated[
    AttentionSlicing | None,
    typer.Option(
        "--attention-slicing", help="auto cuts attention into exact chunks where needed.", rich_help_panel=MACHINE
    ),
]
Offloading = Annotated[
    Offload | None,
    typer.Option("--offload", help="Keep parts off the accelerator while they rest.", rich_help_panel=MACHINE),
]
Tiling = Annotated[VaeTiling | None, typer.Option("--vae-tiling", help="Decode in tiles.", rich_help_panel=MACHINE)]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object per result on standard output.", rich_help_panel=SHOW)
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes.", rich_help_panel=SHOW)]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Also what was decided, and why.", rich_help_panel=SHOW)]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan and make nothing; --json prints all of it.", rich_help_panel=SHOW),
]
Preview = Annotated[bool, typer.Option("--preview", help="Show pictures in the terminal.", rich_help_panel=SHOW)]
