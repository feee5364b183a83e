import subprocess
import sys

import pytest

from imggen.errors import ModelError, RequestError
from imggen.plan.models import catalog, signature

SOURCE = """
class Other:
    def __call__(self, nothing): ...

class ToyPipeline(Base):
    def encode(self, prompt): ...

    @torch.no_grad()
    def __call__(self, prompt, /, width=8, *, steps: int = 3, **kwargs): ...
"""


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "pipelines" / "toy"
    folder.mkdir(parents=True)
    (folder / "pipeline_toy.py").write_text(SOURCE, encoding="utf-8")
    (folder / "pipeline_elsewhere.py").write_text("class HiddenPipeline:\n    def __call__(self, a): ...\n")
    return tmp_path


def test_named_parameters_are_found_and_the_swallowing_ones_are_not(package):
    assert signature.parameters("ToyPipeline", folder=package) == {"prompt", "width", "steps"}


def test_a_class_in_a_file_of_another_name_is_found(package):
    assert signature.parameters("HiddenPipeline", folder=package) == {"a"}


def test_a_class_that_is_not_there_is_a_model_error(package):
    with pytest.raises(ModelError, match="'MissingPipeline'"):
        signature.parameters("MissingPipeline", folder=package)


def test_an_argument_that_kwargs_would_swallow_is_refused_by_its_option(package):
    with pytest.raises(RequestError, match="negative_prompt") as caught:
        signature.check(["prompt", "negative_prompt"], "ToyPipeline", folder=package)
    assert caught.value.hint == "leave --negative-prompt out"
    signature.check(["prompt", "width"], "ToyPipeline", folder=package)


DESCRIBED = """
class ToyPipeline(DiffusionPipeline, ToyLoraLoaderMixin):
    def __init__(self, vae, transformer, scheduler, safety_checker=None):
        self.default_sample_size = (
            self.transformer.config.sample_size if hasattr(self, "transformer") and self.transformer else 64
        )

    def check_inputs(self, prompt, height, width):
        if height % (self.vae_scale_factor * 2) != 0 or width % 16 != 0:
            raise ValueError

    def __call__(self, prompt, height: int = 512, steps=None, order=[1, 2], size=SIZE):
        height = 4 * (int(height) // (self.vae_scale_factor * 4))
        return ToyPipelineOutput(images=image)
"""


def test_a_pipeline_is_described_by_its_source(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "pipeline_toy.py").write_text(DESCRIBED)
    found = signature.read("ToyPipeline", folder=tmp_path)
    assert found.takes == {"prompt": None, "height": 512, "steps": None, "order": [1, 2], "size": None}
    assert found.needs == {"prompt"}
    assert found.parts == ("vae", "transformer", "scheduler", "safety_checker")
    assert found.must_have == {"vae", "transformer", "scheduler"}
    assert found.gives == {"images"}
    assert (found.fold, found.step, found.sample_size) == (4, 16, 64)
    assert found.bases == ("DiffusionPipeline", "ToyLoraLoaderMixin")
    assert "sample_size" in found.words
    assert signature.read("OtherPipeline", folder=tmp_path) is None


BLIND = ("glm-image",)
"""Their pipelines take a picture, and break over it."""
CLOSED = ("glm-image", "dreamlite", "dreamlite-mobile")
"""Their noise and words come in by other ways besides."""


@pytest.mark.parametrize("family", catalog.FAMILIES, ids=lambda family: family.name)
def test_every_familys_arguments_are_in_the_installed_pipelines_signature(family):
    wanted = {"prompt", "num_inference_steps", "generator", *family.extra_arguments}
    wanted |= {family.guidance_argument} if family.guidance_argument else set()
    wanted |= set() if family.negative_refusal else {"negative_prompt"}
    looks = family.reference.tasks if family.reference else ()
    for task, pipeline in family.pipelines.items():
        taken = signature.parameters(pipeline)
        starts = task in ("image-to-image", "inpaint") and task not in looks
        assert wanted <= taken
        assert ({"width", "height"} <= taken) == (task not in family.sized_by_image)
        assert ({"image", "strength"} <= taken) == (starts and task not in family.from_noise)
        shows = family.reference.argument if family.reference else "image"
        looked_at = starts or pipeline in [family.pipelines[each] for each in looks]
        assert (shows in taken) == (looked_at or family.name in BLIND)
        assert (family.mask_argument in taken) == (pipeline == family.pipelines.get("inpaint"))


@pytest.mark.parametrize(
    "family", [each for each in catalog.FAMILIES if "text-to-image" in each.pipelines], ids=lambda family: family.name
)
def test_parents_are_mixed_where_the_pipeline_lets_noise_and_words_in(family):
    words = signature.read(family.pipelines["text-to-image"]).words
    lets_in = {"encode_prompt", "prepare_latents"} <= words and family.name not in CLOSED
    assert (family.breeding_refusal is None) == lets_in


def test_looking_imports_neither_diffusers_nor_torch():
    code = (
        "import sys; from imggen.plan.models import signature; signature.parameters('StableDiffusionPipeline');"
        "print([name for name in ('torch', 'diffusers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
