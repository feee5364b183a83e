"""The command that makes pictures larger.

What it does is in `enlarging`, which is imported when it is done: loading all of it would take help half of its time.
"""

from typing import Annotated

import typer

from imggen.cli import options, suggestions
from imggen.plan.schema.change import Fit
from imggen.plan.schema.formats import ImageFormat

SIZE = "Size"
ENGINE = "Engine"

Pictures = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Pictures, quoted globs, or - for standard input.")
]
Scale = Annotated[
    str | None,
    typer.Option("--scale", metavar="FACTOR", help="2, 4, 1.5, ...; 2 when left out.", rich_help_panel=SIZE),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="WxH|Wx|xH|NAME",
        help="1920x1080, 1920x, x1080 or a name such as 4k.",
        rich_help_panel=SIZE,
        autocompletion=suggestions.targets,
    ),
]
Fitting = Annotated[
    Fit | None, typer.Option("--fit", help="What --to WxH does to another shape.", rich_help_panel=SIZE)
]
Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="REF",
        help="builtin, lanczos, a file of weights, or a diffusion upscaler.",
        rich_help_panel=ENGINE,
        autocompletion=suggestions.upscalers,
    ),
]
TileSize = Annotated[
    str | None,
    typer.Option(
        "--tile-size", metavar="PIXELS|auto", help="Of the small picture; 0 draws it whole.", rich_help_panel=ENGINE
    ),
]
TileOverlap = Annotated[
    int | None,
    typer.Option("--tile-overlap", metavar="PIXELS", help="By how much tiles overlap.", rich_help_panel=ENGINE),
]
About = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--prompt",
        metavar="TEXT",
        help="What the picture shows, for a diffusion upscaler; no marks are read.",
        rich_help_panel=ENGINE,
    ),
]
Seed = Annotated[
    str | None,
    typer.Option(
        "-s", "--seed", metavar="SEED", help="Where a diffusion upscaler starts from.", rich_help_panel=ENGINE
    ),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", metavar="N", help="A diffusion upscaler's denoising steps.", rich_help_panel=ENGINE),
]
Guidance = Annotated[
    float | None,
    typer.Option("-g", "--guidance", metavar="SCALE", help="How closely --prompt is followed.", rich_help_panel=ENGINE),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="A file, a folder/, a template such as big/{stem}.png, or - for standard output.",
        rich_help_panel=options.FILES,
    ),
]
Format = Annotated[
    ImageFormat | None,
    typer.Option(
        "--format", help="By the name of the file, else the source's own, when left out.", rich_help_panel=options.FILES
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
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
) -> None:
    """Make pictures larger."""
    asked = locals()
    from imggen.cli import enlarging

    enlarging.run(asked)
