"""The command that makes pictures larger.

What it does is in `enlarging`, which is imported when it is done: loading all of it would take help half of its time.
"""

from typing import Annotated

from imggen.cli import options, suggestions
from imggen.cli.options import MODEL, OUTPUT, SIZE, argument, option
from imggen.plan.schema.change import Fit
from imggen.plan.schema.formats import ImageFormat

Pictures = Annotated[list[str], argument("FILE...", "Pictures, quoted globs, or - for standard input.")]
Scale = Annotated[str | None, option("--scale FACTOR", "Scale factor: 2, 4, 1.5, ...; 2 when left out.", SIZE)]
To = Annotated[
    str | None,
    option(
        "--to WxH|Wx|xH|NAME", "Target size: 1920x1080, 1920x, x1080 or a name such as 4k.", SIZE, suggestions.targets
    ),
]
Fitting = Annotated[Fit | None, option("--fit", "Fit of another aspect ratio into --to WxH.", SIZE)]
Model = Annotated[
    str | None,
    option(
        "-m --model REF",
        "Upscaler: builtin, lanczos, a file of weights, or a diffusion model.",
        MODEL,
        suggestions.upscalers,
    ),
]
TileSize = Annotated[
    str | None, option("--tile-size PIXELS|auto", "Tile size, in pixels of the input; 0 is one tile.", MODEL)
]
TileOverlap = Annotated[int | None, option("--tile-overlap PIXELS", "Tile overlap, in pixels of the input.", MODEL)]
About = Annotated[
    str | None, option("-p --prompt TEXT", "Prompt for a diffusion upscaler, taken as plain text.", MODEL)
]
Seed = Annotated[str | None, option("-s --seed SEED", "Seed of a diffusion upscaler.", MODEL)]
Steps = Annotated[int | None, option("--steps N", "Denoising steps of a diffusion upscaler.", MODEL)]
Guidance = Annotated[
    float | None, option("-g --guidance SCALE", "Guidance scale (CFG) of a diffusion upscaler.", MODEL)
]
Output = Annotated[
    str | None,
    option("-o --output PATH", "Output: a file, a folder/, a template such as big/{stem}.png, or -.", OUTPUT),
]
Format = Annotated[
    ImageFormat | None, option("--format", "File format; by the file's name, else the input's, when left out.", OUTPUT)
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
