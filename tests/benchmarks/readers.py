"""Which independent readers find the prompt, seed, steps and model in imggen's files: a table in Markdown.

Run by hand: `python tests/benchmarks/readers.py [--python VENV/bin/python]`. The readers are not dependencies: exiftool
is looked for on the path, and `--python` names an interpreter that has sd-parsers, or sd-prompt-reader and piexif (its
window is not opened). One that is not there is left out and named.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from imggen.errors import ImggenError
from imggen.output import writer
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import infotext, metadata
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.plan.schema.formats import FORMATS
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.request import OutputPlan

PROMPTS = {
    "plain": "a red apple on a teal background",
    "quotes": "an \"apple\" with a 'leaf' and a `pear`",
    "commas, colons, brackets": "apple, pear: (ripe:1.2), [green|red], <lora:x:1>, back\\slash",
    "several lines": "a red apple\n\non a table,\nby a window",
    "emoji, Japanese": "a red apple 🍎, りんご",
    "`Negative prompt:` inside": "a red apple\nNegative prompt: forged",
    "a forged line of settings": "a red apple\nSteps: 99, Sampler: X, CFG scale: 1, Seed: 1, Size: 8x8",
    "zero width": "a\u200b red\u200d apple\u2060",
    "begins with a brace": '{"prompt": "a red apple"}',
}
NEGATIVE = "blurry, low quality"
WANTED = ("prompt", "negative", "seed", "steps", "model")

SD_PARSERS = """
import json, sys
from sd_parsers import ParserManager
for path in sys.argv[1:]:
    told = {}
    try:
        read = ParserManager().parse(path)
        if read:
            sampler = read.samplers[0]
            told = {"prompt": read.full_prompt, "negative": read.full_negative_prompt,
                    "model": next((each.name for each in read.models), None),
                    "seed": sampler.parameters.get("seed"), "steps": sampler.parameters.get("steps")}
    except Exception as error:
        told = {"error": repr(error)}
    print(json.dumps(told))
"""
SD_PROMPT_READER = """
import json, sys
from sd_prompt_reader.image_data_reader import ImageDataReader
for path in sys.argv[1:]:
    told = {}
    try:
        read = ImageDataReader(path)
        if read.tool:
            told = {"prompt": read.positive, "negative": read.negative,
                    **{name: read.parameter[name] for name in ("model", "seed", "steps")}}
    except Exception as error:
        told = {"error": repr(error)}
    print(json.dumps(told))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the readers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {False: made(Path(folder) / "plain"), True: made_signed(Path(folder))}
        readers, absent = found(options.python)
        failures = table(readers, files)
    for line in [*absent, *failures]:
        print(f"- {line}")


def recipe(prompt):
    return Recipe(
        task="text-to-image",
        prompt=prompt,
        negative_prompt=NEGATIVE,
        model="stabilityai/sdxl-turbo",
        model_revision="0" * 40,
        model_hash="ab" * 32,
        family="sdxl",
        width=256,
        height=192,
        steps=20,
        guidance=7.5,
        seed=42,
        sampler="euler",
        device="cpu",
        dtype="float32",
        attention_slicing="off",
        vae_tile=0,
        offload="none",
        versions={"imggen": "0.1.0"},
    )


def made(folder, identity=None):
    """Write every prompt in every format; return the files by format, in the order of the prompts."""
    image = Image.effect_mandelbrot((256, 192), (-2, -1.2, 1, 1.2), 60).convert("RGB")
    files = {file_format: [] for file_format in FORMATS}
    for number, prompt in enumerate(PROMPTS.values()):
        for file_format, written in FORMATS.items():
            path = folder / f"{number}{written.suffix}"
            output = OutputPlan(
                template=str(path),
                format=file_format,
                quality=written.quality,
                if_exists="auto",
                metadata="full",
            )
            writer.write(image, recipe(prompt), output, path, by=WriteContext(identity=identity))
            files[file_format].append(path)
    return files


def made_signed(folder):
    if not signing.is_available():
        return {}
    identity = keys.create(folder / "keys", Draft(organisation="Example Ltd"), check=signing.prove)
    return made(folder / "signed", identity)


def found(python):
    """Return the readers that are there, and a line for each that is not."""
    readers = {"imggen": own, "AUTOMATIC1111's grammar": grammar}
    absent = []
    if shutil.which("exiftool"):
        version = subprocess.run(["exiftool", "-ver"], capture_output=True, text=True, check=True).stdout.strip()
        readers[f"exiftool {version}"] = exiftool
    else:
        absent.append("exiftool is not installed: left out")
    for name, script in (("sd-parsers", SD_PARSERS), ("sd-prompt-reader", SD_PROMPT_READER)):
        asked = f"from importlib.metadata import version; print(version({name!r}))"
        answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            readers[f"{name} {answer.stdout.strip()}"] = scripted(python, script)
        else:
            absent.append(f"{name} is not installed for {Path(python).name}: left out")
    return readers, absent


def own(paths):
    """Read as `imggen inspect` does: the recipe, so the prompt as it was typed."""
    for path in paths:
        try:
            read = metadata.read(path).found
        except ImggenError as error:
            yield {"error": error.message}
            continue
        yield {"prompt": read.prompt, "negative": read.negative_prompt, **read.settings}


def grammar(paths):
    """Read the infotext alone, by the web UI's own rules, from where it is kept."""
    for path in paths:
        picture = metadata.read(path)
        yield settings(picture.picture.carriers.text("parameters") or picture.exif.get("UserComment", ""))


def settings(text):
    read = infotext.parse(text)
    told = {name.lower(): read.settings.get(name) for name in ("Seed", "Steps", "Model")}
    return {"prompt": read.prompt, "negative": read.negative_prompt, **told}


def exiftool(paths):
    command = ["exiftool", "-json", "-Parameters", "-UserComment", "-AIPromptInformation", *map(str, paths)]
    answer = subprocess.run(command, capture_output=True, check=False)
    for told in json.loads(answer.stdout):
        shown = settings(told.get("Parameters") or told.get("UserComment") or "")
        prompt, _, negative = told.get("AIPromptInformation", "").rpartition("\nNegative prompt: ")
        yield {**shown, "prompt": prompt, "negative": negative}


def scripted(python, script):
    def read(paths):
        answer = subprocess.run(
            [python, "-c", script, *map(str, paths)], capture_output=True, text=True, check=True, encoding="utf-8"
        )
        return [json.loads(line) for line in answer.stdout.splitlines()]

    return read


def table(readers, files):
    """Print one row for each reader; return what was read wrong, in words."""
    print(f"| reader | {' | '.join(each.upper() for each in FORMATS)} |")
    print("|---" * (len(FORMATS) + 1) + "|")
    failures = []
    for name, read in readers.items():
        for is_signed, by_format in files.items():
            if not by_format:
                continue
            cells = [cell(name, read, by_format[each], each, failures) for each in FORMATS]
            print(f"| {name}{', signed' if is_signed else ''} | {' | '.join(cells)} |")
    print()
    return dict.fromkeys(failures)


def cell(name, read, paths, file_format, failures):
    answers = list(read(paths))
    if not any(told.get(each) for told in answers for each in WANTED):
        return "does not read it"
    wrong = {case: faults(prompt, told) for (case, prompt), told in zip(PROMPTS.items(), answers, strict=True)}
    failures += [f"{name}, {file_format.upper()}, {case}: {', '.join(each)}" for case, each in wrong.items() if each]
    return f"{sum(not each for each in wrong.values())} of {len(PROMPTS)}"


def faults(prompt, told):
    """Return which of the values are not right: white space aside, and a forged field may have a space more."""
    expected = recipe(prompt)
    allowed = {
        "prompt": {squeezed(prompt), squeezed(infotext.neutralised(prompt))},
        "negative": {NEGATIVE},
        "seed": {"42"},
        "steps": {"20"},
        "model": {expected.model, infotext.model_name(expected.model)},
    }
    if "error" in told:
        return [told["error"]]
    return [name for name in WANTED if squeezed(str(told.get(name))) not in allowed[name]]


def squeezed(text):
    return " ".join(text.split())


if __name__ == "__main__":
    main()
