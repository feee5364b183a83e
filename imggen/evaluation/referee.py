"""The referee: says which object a picture of the drawn set's kind shows, and on which colour it stands.

It learns from drawn scenes of a seed that no generator is trained on, blurred, shifted and made noisy, and never sees
a generated picture. So it judges generated pictures by what the drawn ones look like.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from imggen.data.drawn import drawing, scenes, vocabulary

CLASSES = (*vocabulary.OBJECTS, *vocabulary.SHAPES)
INPUT_PX = 64
BORDER_PX = 6
SEED = 90_001


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One question to a generator, and the answer that it should draw."""

    text: str
    name: str
    color: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the referee saw: the names, best first, and the background's nearest named colour."""

    prompt: Prompt
    names: tuple[str, ...]
    color: str

    @property
    def named(self) -> bool:
        """Whether the object asked for comes first."""
        return self.names[0] == self.prompt.name

    @property
    def colored(self) -> bool:
        """Whether the background is nearest to the colour asked for."""
        return self.color == self.prompt.color


def prompts(count: int, seed: int) -> list[Prompt]:
    """Return prompts "a|an OBJECT on a COLOR background", objects and colours drawn evenly by the seed."""
    random = Random(seed)
    names, colors = list(vocabulary.OBJECTS), list(vocabulary.COLORS)
    drawn = []
    for _ in range(count):
        name, color = random.choice(names), random.choice(colors)
        text = f"{vocabulary.with_article(name, name)} on {vocabulary.with_article(color, color)} background"
        drawn.append(Prompt(text=text, name=name, color=color))
    return drawn


def build() -> nn.Sequential:
    """Return a small convolutional classifier: (n, 3, 64, 64) in -1..1 to logits over `CLASSES`."""
    widths = (32, 64, 128, 192, 256)
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(zip((3, *widths), widths, strict=False)):
        layers += [nn.Conv2d(before, after, 3, stride=2 if index < 4 else 1, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], len(CLASSES)))


def train(network: nn.Module, *, pictures: int, batch_size: int = 64, rate: float = 2e-3) -> Iterator[float]:
    """Train on that many drawn scenes of `SEED`, yielding each step's loss."""
    painter = drawing.Painter()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    steps = pictures // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    network.train()
    for step in range(steps):
        images, labels = _draw_batch(painter, range(step * batch_size, (step + 1) * batch_size), harm=True)
        loss = F.cross_entropy(network(images), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


@torch.no_grad()
def accuracy(network: nn.Module, *, pictures: int) -> float:
    """Return the share of drawn scenes, of indices never trained on, whose name comes first; 50 are a batch."""
    painter = drawing.Painter()
    network.eval()
    right = 0
    for first in range(0, pictures, 50):
        images, labels = _draw_batch(painter, range(-first - 50, -first), harm=False)
        right += int((network(images).argmax(1) == labels).sum())
    return right / (50 * -(-pictures // 50))


def save(network: nn.Module, path: Path) -> None:
    """Write the weights as float16 safetensors."""
    save_file({name: tensor.detach().half().contiguous() for name, tensor in network.state_dict().items()}, path)


def load(path: Path) -> nn.Module:
    """Return the referee whose weights are in `path`, ready to judge."""
    network = build()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return network.eval()


@torch.no_grad()
def judge(network: nn.Module, prompt: Prompt, picture: Image.Image) -> Verdict:
    """Return what the referee sees in a picture of any size."""
    ranking = network(_prepare(picture)[None])[0].argsort(descending=True)
    return Verdict(prompt=prompt, names=tuple(CLASSES[index] for index in ranking[:5]), color=background_color(picture))


def background_color(picture: Image.Image) -> str:
    """Return the named colour nearest, in sRGB, to the median of the picture's border."""
    pixels = np.asarray(picture.convert("RGB").resize((128, 128), Image.Resampling.BOX), dtype=np.float32)
    mask = np.ones(pixels.shape[:2], dtype=bool)
    mask[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    median = np.median(pixels[mask], axis=0)
    return min(vocabulary.COLORS, key=lambda name: float(np.square(median - vocabulary.COLORS[name]).sum()))


def _draw_batch(painter: drawing.Painter, indices: range, *, harm: bool) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for index in indices:
        random = Random(f"{SEED}:{index}")
        name = random.choice(CLASSES)
        picture = painter.paint(scenes.single(name, random.choice(tuple(vocabulary.COLORS)), random))
        images.append(_prepare(_harm(picture, random) if harm else picture))
        labels.append(CLASSES.index(name))
    return torch.stack(images), torch.tensor(labels)


def _harm(picture: Image.Image, random: Random) -> Image.Image:
    """Return the picture turned, scaled, shifted and sometimes blurred by chance."""
    edge = picture.width
    angle, scale = random.uniform(-8, 8), random.uniform(0.85, 1.12)
    corner = picture.getpixel((1, 1))
    harmed = picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=corner)
    zoomed = round(edge * scale)
    canvas = Image.new("RGB", (edge, edge), corner)
    shift = (edge - zoomed) // 2
    place = (shift + random.randint(-6, 6), shift + random.randint(-6, 6))
    canvas.paste(harmed.resize((zoomed, zoomed), Image.Resampling.BILINEAR), place)
    if random.random() < 0.5:
        canvas = canvas.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.8)))
    return canvas


def _prepare(picture: Image.Image) -> Tensor:
    small = picture.convert("RGB").resize((INPUT_PX, INPUT_PX), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div_(127.5).sub_(1)
