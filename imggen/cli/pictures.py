"""The command that makes pictures.

What it does is in `making`, which is imported when it is done: loading all of it would take help half of its time.
"""

from imggen.cli import options


def generate(
    prompt: options.Prompt = None,
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
    output: options.Output = None,
    format: options.Format = None,  # noqa: A002 - the option's name
    quality: options.Quality = None,
    if_exists: options.Exists = None,
    metadata: options.MetadataKept = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention_slicing: options.Slicing = None,
    offload: options.Offloading = None,
    vae_tiling: options.Tiling = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    show_preview: options.Preview = False,
) -> None:
    """Make pictures that show what the words say."""
    asked = locals()
    from imggen.cli import making

    request = making.complete(asked, preset, quiet=quiet)
    if dry_run:
        making.show_plan(request, quiet=quiet, verbose=verbose)
        return
    manner = making.Manner(output=request.output, as_json=as_json, quiet=quiet, verbose=verbose, preview=show_preview)
    making.make(request, manner)
