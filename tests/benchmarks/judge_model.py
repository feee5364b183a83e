"""Judge a model of the drawn set: `python tests/benchmarks/judge_model.py [MODEL] [--train] [--sheet FILE]`.

Asks for 200 prompts "a|an OBJECT on a COLOR background" drawn by a fixed seed, one picture each, and has the referee
say what they show. `--train` trains the referee anew (minutes) instead of reading its weights.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from PIL import Image

from imggen.evaluation import referee

WEIGHTS = Path(__file__).parent.parent / "data" / "referee.safetensors"
PROMPT_SEED = 20_261_121


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="imggen/builtin/model")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    if options.train:
        train()
    network = referee.load(WEIGHTS)
    verdicts, images = ask(options, network)
    named = sum(each.named for each in verdicts) / len(verdicts)
    top5 = sum(each.prompt.name in each.names for each in verdicts) / len(verdicts)
    colored = sum(each.colored for each in verdicts) / len(verdicts)
    print(f"prompts {len(verdicts)}: object first {named:.1%}, in the first five {top5:.1%}, colour {colored:.1%}")
    missed = Counter(f"{each.prompt.name} -> {each.names[0]}" for each in verdicts if not each.named)
    print("missed:", ", ".join(missed))
    if options.sheet:
        save_sheet(images, options.sheet)


def train() -> None:
    """Train the referee, say how often it is right on drawn scenes, and keep it."""
    torch.manual_seed(0)
    network = referee.build()
    for step, loss in enumerate(referee.train(network, pictures=64_000)):
        if step % 100 == 0:
            print(f"step {step}: {loss:.3f}", flush=True)
    print(f"on 2,000 drawn scenes: {referee.accuracy(network, pictures=2000):.2%}", flush=True)
    WEIGHTS.parent.mkdir(exist_ok=True)
    referee.save(network, WEIGHTS)


def ask(options: argparse.Namespace, network: torch.nn.Module) -> tuple[list[referee.Verdict], list[Image.Image]]:
    """Return a verdict and a picture per prompt."""
    from diffusers import StableDiffusionPipeline

    record = json.loads((Path(options.model) / "imggen.json").read_text())
    pipeline = StableDiffusionPipeline.from_pretrained(options.model, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    verdicts, images = [], []
    for index, prompt in enumerate(referee.prompts(options.prompts, PROMPT_SEED)):
        image = pipeline(
            prompt.text,
            num_inference_steps=options.steps or record["steps"],
            guidance_scale=options.guidance if options.guidance is not None else record["guidance"],
            generator=torch.Generator("cpu").manual_seed(index),
        ).images[0]
        images.append(image)
        verdicts.append(referee.judge(network, prompt, image))
    return verdicts, images


def save_sheet(images: list[Image.Image], path: Path, columns: int = 20) -> None:
    """Write all pictures on one sheet, at half size."""
    edge = 64
    sheet = Image.new("RGB", (columns * edge, -(-len(images) // columns) * edge))
    for index, image in enumerate(images):
        sheet.paste(image.resize((edge, edge)), (index % columns * edge, index // columns * edge))
    sheet.save(path)


if __name__ == "__main__":
    main()
