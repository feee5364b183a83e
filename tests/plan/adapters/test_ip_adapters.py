"""Which picture is shown beside the words, by which weights, as it is typed."""

import pytest

from imggen.errors import RequestError
from imggen.plan.adapters import adaptation, ip_adapters
from imggen.plan.case import RECIPE
from imggen.plan.generation import resolve
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.given import Given
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import laptop, stable_diffusion

SD = catalog.named("sd")


def asked(task="text-to-image", family=SD, *, there=(), **said):
    request = GenerateRequest(task=task, **said)
    return ip_adapters.asked(request, family, exists=lambda name: name in there)


def test_a_picture_is_shown_by_the_familys_usual_weights_unless_others_are_named():
    usual = asked(ip_adapter="ref.png:0.5")
    assert (usual.reference, usual.image, usual.scale) == (SD.ip_adapters.usual, "ref.png", 0.5)
    named = asked(ip_adapter="ref.png", ip_adapter_weights="./plus.safetensors:0.7")
    assert (named.reference, named.image, named.scale) == ("./plus.safetensors", "ref.png", 0.7)
    assert asked(ip_adapter="ref.png").scale == 1.0
    assert asked() is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("weights.safetensors", ("weights.safetensors", 1.0)),
        ("weights:0.5", ("weights", 0.5)),
        ("C:/w.safetensors", ("C:/w.safetensors", 1.0)),
        ("org/name@main/w.safetensors:0", ("org/name@main/w.safetensors", 0.0)),
    ],
)
def test_style_shows_its_own_picture(text, kept):
    found = asked("style", like="s.png", ip_adapter_weights=text)
    assert ((found.reference, found.scale), found.image) == (kept, "s.png")
    assert asked("style", like="s.png") is None


@pytest.mark.parametrize("family", [row.name for row in catalog.FAMILIES if row.ip_adapters and row.ip_adapters.usual])
def test_usual_weights_are_one_file_of_the_hub(family):
    usual = catalog.named(family).ip_adapters.usual
    repository, revision, file = adaptation.split_hub(usual)
    assert adaptation.with_revision(f"{repository}/{file}", revision) == usual
    assert "/" not in file.removeprefix("models/").removeprefix("sdxl_models/")


def test_weights_for_one_size_of_a_family_are_no_others():
    large = {"num_layers": 38, "num_attention_heads": 38}
    sd3 = catalog.named("sd3")
    found = ip_adapters.asked(GenerateRequest(ip_adapter="ref.png"), sd3, large)
    assert found.reference == sd3.ip_adapters.usual
    with pytest.raises(RequestError, match="are for models of num_layers 38, num_attention_heads 38") as caught:
        ip_adapters.asked(GenerateRequest(ip_adapter="ref.png"), sd3, {"num_layers": 24, "num_attention_heads": 24})
    assert caught.value.hint.startswith("--ip-adapter-weights FILE")


def test_a_file_that_is_called_like_a_scale_is_a_file():
    assert ip_adapters.parse("a:2", exists=lambda name: name == "a:2") == ("a:2", None)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            {"ip_adapter": "ref.png:9"},
            r"--ip-adapter ref\.png:9: the scale 9 is not in 0 to 4",
            "--ip-adapter ref.png:0.8",
        ),
        ({"ip_adapter": "ref.png:nan"}, "the scale nan is not in 0 to 4", "--ip-adapter ref.png:0.8"),
        ({"ip_adapter": "ref.png:half"}, "'half' is not a scale", "--ip-adapter ref.png:0.8"),
        ({"ip_adapter": " "}, "--ip-adapter is empty", "leave --ip-adapter out"),
        ({"ip_adapter": ":0.5"}, "is a scale and names nothing", "--ip-adapter NAME:0.5"),
        (
            {"ip_adapter_weights": "w:0.5"},
            "--ip-adapter-weights w: there is no picture to show",
            "--ip-adapter picture.png",
        ),
        (
            {"ip_adapter_encoder": "clip"},
            "--ip-adapter-encoder clip: nothing looks through it",
            "--ip-adapter picture.png",
        ),
        (
            {"ip_adapter": "ref.png", "ip_adapter_encoder": " "},
            "--ip-adapter-encoder is empty",
            "leave --ip-adapter-encoder out",
        ),
        (
            {"ip_adapter": "ref.png:0.5", "ip_adapter_weights": "w:0.7"},
            "--ip-adapter says the scale 0.5, and --ip-adapter-weights 0.7",
            "--ip-adapter-weights w",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(said, message, hint):
    with pytest.raises(RequestError, match=message) as caught:
        asked(there=("ref.png",), **said)
    assert caught.value.hint == hint


def test_a_scale_of_a_recipe_gives_way_to_the_one_that_is_typed():
    found = asked(ip_adapter="ref.png:0.5", ip_adapter_weights="w:0.7", origin={"ip_adapter_weights": RECIPE})
    assert found.scale == 0.5
    assert asked(ip_adapter="ref.png", ip_adapter_weights="w:0.7", origin={"ip_adapter_weights": RECIPE}).scale == 0.7


@pytest.mark.parametrize(
    ("family", "reason", "hint"),
    [
        ("flux-fill", "FLUX.1 Fill takes none; diffusers has no IP-Adapters for it", "leave --ip-adapter out"),
        ("flux-kontext", "it reads the style picture itself", "imggen img2img"),
        ("flux2-klein", "it reads the style picture itself", "imggen img2img or imggen style"),
        ("lumina2", "diffusers has no IP-Adapters for it", "leave --ip-adapter out"),
    ],
)
def test_a_family_without_adapters_is_refused_before_anything_is_looked_for(family, reason, hint):
    with pytest.raises(RequestError, match=reason) as caught:
        asked(family=catalog.named(family), ip_adapter="ref.png")
    assert caught.value.hint == hint


def test_an_adapter_and_sliced_attention_are_refused_together():
    request = GenerateRequest(prompt="a star", ip_adapter="ref.png", attention_slicing="on", output="x.png")
    wanted = ip_adapters.asked(request, SD)
    found = AdapterFacts(asked=wanted, files=(), sha256="ab" * 32, reference=wanted.reference)
    given = Given(role="shown", name="ref.png", sha256="ab" * 32, width=8, height=8)
    with pytest.raises(
        RequestError, match="--ip-adapter and --attention-slicing on both replace the attention processors"
    ):
        resolve.resolve(request, stable_diffusion(), laptop(), (given,), (found,), draw_seed=lambda limit: 7)
