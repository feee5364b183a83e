"""Every hint in the code that is a command or an option is one that works where it is printed."""

import ast
import functools
import re
import shlex
from pathlib import Path

import pytest
import typer
from PIL import Image

import imggen
from imggen.cli import app

USAGE = typer.BadParameter.__mro__[1]
"""What a wrong line raises: Typer has its own copy of Click."""
ROOT = Path(imggen.__file__).parent
HOLE = "\0"
"""What stands for a value that is filled in when the hint is printed."""
DRAWING = ("generate", "img2img", "inpaint", "outpaint", "blend", "style")
WRITING = (*DRAWING, "upscale")
# The commands that print the hints of a module, by its longest listed beginning.
COMMANDS = {
    "cli/console": (*WRITING, "preprocess"),
    "cli/keys": ("keys trust",),
    "cli/library": ("models rm",),
    "cli/prompts": DRAWING,
    "cli/usage": WRITING,
    "engine": DRAWING,
    "engine/upscaling": ("upscale",),
    "engine/vision": (*DRAWING, "preprocess"),
    "inputs": WRITING,
    "inputs/layout": ("inpaint",),
    "output/files": (*WRITING, "embed-metadata", "preprocess"),
    "output/formats": WRITING,
    "output/metadata": ("embed-metadata",),
    "output/provenance/keys": ("keys init",),
    "output/watermark": WRITING,
    "output/writer": WRITING,
    "plan": DRAWING,
    "plan/policy": WRITING,
    "plan/schema/marking": WRITING,
    "plan/sizing/targets": ("upscale",),
    "plan/training": ("train",),
    "plan/upscaling": ("upscale",),
    "store": WRITING,
    "tasks/convert": ("models convert",),
    "tasks/embed": ("embed-metadata",),
    "tasks/generate": DRAWING,
    "tasks/keys": ("keys init",),
    "tasks/preprocess": ("preprocess",),
    "tasks/steps": WRITING,
    "tasks/steps/engines": ("upscale",),
    "tasks/train": ("train",),
    "tasks/upscale": ("upscale",),
    "training": ("train",),
}
# Options that only some of the commands have, and that are asked for only where those were typed.
OWN = {
    "--aspect": "sizes of outpaint are said by --pad",
    "--control": "asked for where control pictures were typed",
    "--feather": "of inpaint and outpaint",
    "--fit": "asked for where a mask is cut off by it, which is inpaint's",
    "--frame": "of a given picture that is changed",
    "--image-guidance": "asked for where it was typed",
    "--ip-adapter": "asked for where a LoRA was typed that is one",
    "--like": "of style",
    "--mask": "of inpaint",
    "--mask-box": "of inpaint",
    "--mutate": "of blend",
    "--pad": "of outpaint",
    "--preprocess": "asked for where control pictures were typed",
    "--size": "sizes of outpaint are said by --pad",
    **dict.fromkeys(("--width", "--height"), "sizes of outpaint are said by --pad"),
    "--strength": "of what starts from a picture",
    "--tile": "asked for where it was typed",
    "--weights": "of blend",
}
# Of models that draw: what enlarges is one file, or whole.
UPSCALE_LACKS = ("--base", "--control", "--lora", "--quantize", "--vae", "--wildcards")
ELSEWHERE = {
    ("plan/policy/policy", "--strip"): "printed by embed-metadata alone",
    ("plan/adapters/lora", "--ip-adapter-weights"): "beside --ip-adapter, which blend has not either",
}
_FOREIGN = re.compile(r"\b(pip|openssl|magick|apt-get|mkdir|cp|curl|git|hf|rm|ls|cat|chmod|IMGGEN_KEYS=\S*) ")


@functools.cache
def _commands():
    return dict(_walked(typer.main.get_command(app.app), ()))


def _walked(command, names):
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walked(inner, (*names, name))
    if not hasattr(command, "commands"):
        yield " ".join(names), command


def _options(command):
    return {name for parameter in _commands()[command].params for name in (*parameter.opts, *parameter.secondary_opts)}


def _hints():
    """Yield every text that is passed as a hint: the module without its suffix, the line, and the text."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bound = _bound(tree)
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                yield from ((module, line, text) for text, line in _texts(node.value, bound, frozenset()))


def _bound(tree):
    """Return what names are assigned, and what functions return, in a module."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name) and node.value is not None]
            for name in names:
                bound.setdefault(name, []).append(node.value)
        if isinstance(node, ast.FunctionDef):
            ended = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return | ast.Yield)]
            bound.setdefault(node.name, []).extend(value for value in ended if value is not None)
    return bound


def _texts(node, bound, seen):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value, node.lineno
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values), node.lineno
    else:
        name = node.func if isinstance(node, ast.Call) else node
        inner = bound.get(name.id, []) if isinstance(name, ast.Name) and name.id not in seen else []
        if isinstance(node, ast.IfExp | ast.BoolOp | ast.Subscript | ast.Dict | ast.BinOp):
            inner = [each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.Compare)]
        for value in inner:
            yield from _texts(value, bound, seen | ({name.id} if isinstance(name, ast.Name) else set()))


HINTS = sorted(set(_hints()))


def _printers(module):
    while module and module not in COMMANDS:
        module = module.rpartition("/")[0]
    return COMMANDS.get(module, ())


def _lines(text):
    """Yield the command lines in a hint, as far as they go on: words for people begin after a comma, `or`, `then`."""
    for found in re.finditer(r"imggen (?!\.\.\.|reads\b)([a-z][^;`|>,]*)", text):
        yield (
            re.split(r" (?:or|to|then|names|lists|takes|makes|fetches|for|shows|may|when) ", found[1])[0]
            .removesuffix("...")
            .strip()
        )


def _is_taken(name, arguments):
    try:
        _commands()[name].make_context(name, list(arguments))
    except USAGE:
        return False
    return True


def test_there_are_hints_to_be_checked():
    assert len(HINTS) > 400
    assert sum(1 for _, _, text in HINTS for _ in _lines(text)) > 60


@pytest.mark.parametrize(("module", "text"), sorted({(module, text) for module, _, text in HINTS if "imggen " in text}))
def test_a_command_in_a_hint_is_one_that_imggen_takes(module, text):
    for line in _lines(text):
        words = [word.replace(HOLE, "X") for word in shlex.split(line.replace("...", "X"))]
        name = " ".join(words[:2]) if " ".join(words[:2]) in _commands() else words[0]
        assert name in _commands(), f"{module}: imggen {line}"
        arguments = words[len(name.split()) :]
        # Options that are filled in whole stand at the end.
        whole = [arguments, *(arguments[:end] for end in range(len(arguments)) if set(arguments[end:]) == {"X"})]
        assert any(_is_taken(name, some) for some in whole), f"{module}: imggen {line}"


@pytest.mark.parametrize(("module", "text"), sorted({(module, text) for module, _, text in HINTS if "-" in text}))
def test_an_option_in_a_hint_is_one_of_every_command_that_prints_it(module, text):
    rest = text
    for line in _lines(text):
        rest = rest.replace(f"imggen {line}", "")
    if _FOREIGN.search(rest):
        return
    for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]*|-[a-zA-Z](?= ))", rest):
        printers = [name for name in _printers(module) if not (name == "upscale" and option in UPSCALE_LACKS)]
        assert printers, f"{module}: who prints {text!r} is not listed"
        lacking = [name for name in printers if option not in _options(name)]
        assert lacking != printers or (module, option) in ELSEWHERE, f"{module}: {text!r}: none has {option}"
        assert not lacking or option in OWN or (module, option) in ELSEWHERE, f"{module}: {text!r}: {lacking}"


PROMPT = ("generate", "a red apple", "--dry-run")


@pytest.mark.parametrize(
    "line",
    [
        (*PROMPT, "--height", "100000"),
        (*PROMPT, "--width", "70"),
        (*PROMPT, "--size", "9000x9000"),
        (*PROMPT, "--width", "9000", "--height", "10"),
        (*PROMPT, "--quality", "300", "-o", "a.jpg"),
        (*PROMPT, "--steps", "0"),
        (*PROMPT, "--sampler", "eulr"),
        (*PROMPT, "--seed", "-1"),
        (*PROMPT, "--num-images", "0"),
        (*PROMPT, "--dtype", "flaot32"),
        (*PROMPT, "--device", "cpuu"),
        (*PROMPT, "--aspect", "16to9"),
        (*PROMPT, "-m", "bultin"),
        (*PROMPT, "--preset", "ikon"),
        ("img2img", "apple.png", "a star", "--height", "5000", "--dry-run"),
        ("img2img", "apple.png", "a star", "--strength", "2", "--dry-run"),
        ("inpaint", "apple.png", "a star", "--mask-box", "900,900,8,8", "--dry-run"),
        ("outpaint", "apple.png", "a star", "--pad", "many", "--dry-run"),
        ("upscale", "apple.png", "--scale", "0", "--dry-run"),
        ("upscale", "apple.png", "-m", "builtn", "--dry-run"),
    ],
)
def test_the_options_of_a_hint_work_on_the_line_that_was_refused(run, line):
    Image.new("RGB", (64, 64), "red").save("apple.png")
    refused = run(*line)
    assert refused.code, line
    hint = refused.err.rpartition("hint: ")[2].strip()
    assert hint.startswith("--"), refused.err
    options = shlex.split(re.split(r",? or | \(|[;,] | adds ", hint)[0])
    assert run(*line, *options).code == 0, (hint, run(*line, *options).err)


@pytest.mark.parametrize(
    "line",
    [
        ("generate", "a red apple", "--policy", "none.toml"),
        ("generate", "a red apple", "--from", "plain.png"),
        ("models", "show", "bultin"),
        ("models", "convert", "bultin", "-o", "new", "--dtype", "bfloat16"),
        ("models", "alias", "sdx", "--remove"),
        ("models", "rm", "mine"),
        ("models", "rm", "builtin"),
        ("keys", "init"),
        ("upscale", "a red apple"),
    ],
)
def test_the_command_of_a_hint_works(run, line, tmp_path):
    Image.new("RGB", (8, 8)).save("plain.png")
    for name in ("sdxl", "mine"):
        run("models", "alias", name, "builtin")
    refused = run(*line)
    assert refused.code
    words = shlex.split(refused.err.rpartition("hint: ")[2])
    if words[0] == "cp":
        Path(words[2]).write_bytes(Path(words[1]).read_bytes())
        assert run(*line).err.count("there is no policy") == 0
        return
    assert words[0] == "imggen"
    assert run(*words[1:]).code == 0, words


def test_a_text_too_long_for_a_jpeg_is_not_told_to_change_a_format_that_embed_metadata_cannot(run):
    Image.new("RGB", (8, 8)).save("a.jpg")
    refused = run("embed-metadata", "a.jpg", "--set", f"description={'long ' * 14_000}")
    assert refused.code
    assert "--format" not in refused.err
    assert refused.err.endswith("magick a.jpg a.png\n")


def test_several_frames_of_a_mask_are_not_told_to_be_chosen_by_what_chooses_those_of_the_picture(run):
    Image.new("RGB", (64, 64)).save("a.png")
    frames = [Image.new("L", (64, 64), shade) for shade in (0, 255)]
    frames[0].save("mask.gif", save_all=True, append_images=frames[1:])
    refused = run("inpaint", "a.png", "a star", "--mask", "mask.gif", "--dry-run")
    assert refused.err.endswith("hint: magick 'mask.gif[0]' frame.png\n")
    assert run("img2img", "mask.gif", "a star", "--dry-run").err.endswith("hint: --frame 1\n")
    assert run("img2img", "mask.gif", "a star", "--dry-run", "--frame", 1).code == 0
