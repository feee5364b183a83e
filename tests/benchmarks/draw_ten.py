"""Draw the ten pictures of docs/: `python tests/benchmarks/draw_ten.py docs/ten.png`, from the checkout's root."""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PROMPTS = (
    "a red apple on a teal background",
    "a green triangle on a yellow background",
    "a yellow moon on a navy background",
    "a cat on a pink background",
    "a rocket on a black background",
    "a purple heart on a white background",
    "a pumpkin on a purple background",
    "a penguin on a lime background",
    "two strawberries on a cyan background",
    "a sunflower on a blue and white striped background",
)
"""Chosen for what they ask, before the model was there to answer; the seed is 1 throughout."""
COLUMNS = 5


def main(target: Path) -> None:
    """Ask the command line for each prompt and lay the pictures side by side."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = [draw(prompt, Path(folder) / f"{index}.png") for index, prompt in enumerate(PROMPTS)]
    edge = pictures[0].width
    sheet = Image.new("RGB", (COLUMNS * edge, -(-len(pictures) // COLUMNS) * edge))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % COLUMNS * edge, index // COLUMNS * edge))
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, optimize=True)


def draw(prompt: str, path: Path) -> Image.Image:
    """Return the picture that `imggen generate` makes of a prompt with seed 1."""
    command = [sys.executable, "-m", "imggen", "generate", prompt, "--seed", "1", "-o", str(path)]
    subprocess.run(command, check=True)
    with Image.open(path) as picture:
        return picture.convert("RGB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
