import json
from pathlib import Path
from random import Random

import pytest
import torch
from diffusers import StableDiffusionPipeline

from imggen.data.drawn import drawing, scenes, vocabulary
from imggen.evaluation import referee
from imggen.host import environment

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "imggen" / "builtin" / "model"


@pytest.fixture(scope="module")
def network():
    return referee.load(ROOT / "tests" / "data" / "referee.safetensors")


def ask(name, color="white"):
    return referee.Prompt(text=f"{name} on {color}", name=name, color=color)


def test_prompts_are_those_of_their_seed():
    assert referee.prompts(20, 1) == referee.prompts(20, 1) != referee.prompts(20, 2)
    for prompt in referee.prompts(200, 3):
        assert prompt.name in prompt.text
        assert prompt.text.endswith(f"{prompt.color} background")


def test_drawn_scenes_are_named_and_wrong_names_are_not(network, emoji_font):
    painter = drawing.Painter(font=emoji_font)
    names = list(vocabulary.OBJECTS)
    right, wrong = 0, 0
    for index, name in enumerate(names):
        picture = painter.paint(scenes.single(name, "teal", Random(index)))
        right += referee.judge(network, ask(name, "teal"), picture).named
        wrong += referee.judge(network, ask(names[index - 1], "teal"), picture).named
    assert right >= 0.95 * len(names)
    assert wrong <= 0.05 * len(names)


def test_the_builtin_model_draws_what_the_referee_can_name(network):
    record = json.loads((MODEL / "imggen.json").read_text())
    with environment.quiet():
        pipeline = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        prompts = referee.prompts(15, 7)
        verdicts = []
        for index, prompt in enumerate(prompts):
            generator = torch.Generator("cpu").manual_seed(index)
            picture = pipeline(
                prompt.text,
                num_inference_steps=record["steps"],
                guidance_scale=record["guidance"],
                generator=generator,
            ).images[0]
            verdicts.append(referee.judge(network, prompt, picture))
    assert sum(each.named for each in verdicts) >= len(prompts) - 1
    assert sum(each.colored for each in verdicts) >= len(prompts) - 1
