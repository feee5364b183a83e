"""The command that makes pictures larger.

What it does is in `enlarging`, which is imported when it is done: loading all of it would take help half of its time.
"""

from typing import Annotated

import typer

from imggen.cli import options, suggestions
from imggen.plan.schema.change import Fit
from imggen.plan.schema.formats import ImageFormat

Pictures = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Pictures, quoted globs, or - for standard input.")
]
Scale = Annotated[
    str | None,
    typer.Option(
        "--scale", metavar="FACTOR", help="Scale factor: 2, 4, 1.5, ...; 2 when left out.", rich_help_panel=options.SIZE
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="WxH|Wx|xH|NAME",
        help="Target size: 1920x1080, 1920x, x1080 or a name such as 4k.",
        rich_help_panel=options.SIZE,
        autocompletion=suggestions.targets,
    ),
]
Fitting = Annotated[
    Fit | None, typer.Option("--fit", help="Fit of another aspect ratio into --to WxH.", rich_help_panel=options.SIZE)
]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="REF",
        help="Upscaler: builtin, lanczos, a file of weights, or a diffusion model.",
        rich_help_panel=options.MODEL,
        autocompletion=suggestions.upscalers,
    ),
]
TileSize = Annotated[
    str | None,
    typer.Option(
        "--tile-size",
        metavar="PIXELS|auto",
        help="Tile size, in pixels of the input; 0 is one tile.",
        rich_help_panel=options.MODEL,
    ),
]
TileOverlap = Annotated[
    int | None,
    typer.Option(
        "--tile-overlap", metavar="PIXELS", help="Tile overlap, in pixels of the input.", rich_help_panel=options.MODEL
    ),
]
About = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--prompt",
        metavar="TEXT",
        help="Prompt for a diffusion upscaler, taken as plain text.",
        rich_help_panel=options.MODEL,
    ),
]
Seed = Annotated[
    str | None,
    typer.Option("-s", "--seed", metavar="SEED", help="Seed of a diffusion upscaler.", rich_help_panel=options.MODEL),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", metavar="N", help="Denoising steps of a diffusion upscaler.", rich_help_panel=options.MODEL
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "-g",
        "--guidance",
        metavar="SCALE",
        help="Guidance scale (CFG) of a diffusion upscaler.",
        rich_help_panel=options.MODEL,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="Output: a file, a folder/, a template such as big/{stem}.png, or -.",
        rich_help_panel=options.OUTPUT,
    ),
]
Format = Annotated[
    ImageFormat | None,
    typer.Option(
        "--format",
        help="File format; by the file's name, else the input's, when left out.",
        rich_help_panel=options.OUTPUT,
    ),
]


def upscale(
    files: Pictures,
    scale: Scale = None,
    to: To = None,
    fit: Fitting = None,
    frame: options.Frame = None,
    model: Model = None,
    tile_size: TileSize = None,
    tile_overlap: TileOverlap = None,
    prompt: About = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    offline: options.Offline = None,
    allow_pickle: options.AllowPickle = None,
    output: Output = None,
    format: Format = None,  # noqa: A002 - the option's name
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
    as_json: options.Json = False,
    print0: options.Print0 = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
) -> None:
    """Enlarge pictures."""
    asked = locals()
    from imggen.cli import enlarging

    enlarging.run(asked)
