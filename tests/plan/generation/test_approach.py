from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import RequestError
from imggen.plan.case import PARENTS as PARENTS_SAY
from imggen.plan.case import RECIPE
from imggen.plan.generation import resolve
from imggen.plan.schema.given import Given
from imggen.plan.schema.request import GenerateRequest, ModelFacts
from tests.plan.conftest import builtin, flux, laptop, stable_diffusion, stable_diffusion_xl, straight
from tests.recipes import APPLE

PHOTO = Given(role="image", name="photo.png", sha256="ab" * 32, width=512, height=384)
LARGE = laptop(memory_bytes=128 * 2**30, free_bytes=120 * 2**30)
PARENTS = (
    Given(role="parent", name="a.png", sha256="ab" * 32, width=128, height=128),
    Given(role="parent", name="b.png", sha256="cd" * 32, width=64, height=96),
)


def klein(*, is_distilled=True):
    """A model that edits by looking at pictures."""
    return ModelFacts(
        reference="black-forest-labs/FLUX.2-klein-4B",
        source="hub",
        folder=Path("/models/klein"),
        pipeline="Flux2KleinPipeline",
        options={"is_distilled": is_distilled},
        components={
            "vae": ("diffusers", "AutoencoderKLFlux2"),
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
        },
        configs={
            "transformer": {
                "guidance_embeds": False,
                "in_channels": 128,
                "num_attention_heads": 24,
                "attention_head_dim": 128,
            },
            "vae": {"block_out_channels": [128, 256, 512, 512], "latent_channels": 32},
            "scheduler": {"use_dynamic_shifting": True, "num_train_timesteps": 1000},
        },
        weight_bytes={"transformer": 7_750_000_000, "text_encoder": 8_040_000_000, "vae": 168_000_000},
        stored_dtypes={"transformer": "bfloat16", "text_encoder": "bfloat16", "vae": "bfloat16"},
    )


def decide(task, given=(PHOTO,), model=None, **said):
    request = GenerateRequest(**{"task": task, "prompt": "a star"} | said)
    return resolve.resolve(request, model or stable_diffusion(), LARGE, given, draw_seed=lambda limit: 7)


def test_unlike_prompts_that_a_model_reads_at_their_own_lengths_are_not_mixed():
    like = Given(role="parent", name="a.png", sha256="ab" * 32, width=512, height=512)
    words = [replace(APPLE, model="m", width=512, height=512, prompt=each) for each in ("a pear", "a red apple")]
    twins = [replace(like, recipe=words[0]), replace(like, recipe=words[0])]
    model, said = straight("ZImagePipeline", 6.0), {"size": "512", "prompt": None}
    assert decide("blend", tuple(twins), model, **said).change.method == "noise-and-words"
    plan = decide("blend", (twins[0], replace(like, recipe=words[1])), model, **said)
    assert plan.change.method == "latents"
    assert "does not mix the parents' unlike prompts" in plan.reasons["method"]


def with_channels(model, channels, latents=4):
    configs = dict(model.configs)
    configs["unet"] = {**configs["unet"], "in_channels": channels}
    configs["vae"] = {**configs.get("vae", {}), "latent_channels": latents}
    return replace(model, configs=configs)


@pytest.mark.parametrize(
    ("task", "said", "pipeline", "method"),
    [
        ("image-to-image", {}, "StableDiffusionImg2ImgPipeline", "image-to-image"),
        ("inpaint", {"mask_box": "0,0,64,64"}, "StableDiffusionInpaintPipeline", "inpainting"),
        ("outpaint", {"pad": "64"}, "StableDiffusionInpaintPipeline", "inpainting"),
        ("style", {"like": "s.png"}, "StableDiffusionImg2ImgPipeline", "statistics"),
        ("style", {"like": "s.png", "ip_adapter_weights": "a:0.5"}, "StableDiffusionImg2ImgPipeline", "ip-adapter"),
    ],
)
def test_each_task_has_its_pipeline_and_method(task, said, pipeline, method):
    plan = decide(task, model=with_channels(stable_diffusion(), 4), **said)
    assert (plan.pipeline, plan.change.method) == (pipeline, method)


def test_every_family_has_a_pipeline_for_pictures():
    for model in (stable_diffusion(), stable_diffusion_xl(), flux(), builtin()):
        plan = decide("image-to-image", model=model, width=256, height=256)
        assert plan.pipeline.endswith("Img2ImgPipeline")


def test_a_pipeline_that_takes_its_size_from_the_picture_is_not_told_it():
    assert "width" not in decide("image-to-image").arguments
    assert decide("image-to-image", model=flux()).arguments["width"] == 512
    assert decide("image-to-image", model=flux()).arguments["height"] == 384


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01, float("nan")])
def test_a_strength_out_of_range_says_what_it_means(strength):
    with pytest.raises(RequestError, match="1 ignores the picture, 0 would change nothing"):
        decide("image-to-image", strength=strength)


def test_a_strength_that_leaves_no_step_is_refused_with_one_that_does():
    with pytest.raises(RequestError, match="of 20 steps leaves no step") as caught:
        decide("image-to-image", strength=0.04, steps=20)
    assert caught.value.hint == "--strength 0.05"
    assert decide("image-to-image", strength=0.05, steps=20).change.strength == 0.05


def test_an_inpainting_model_only_repaints():
    model = with_channels(stable_diffusion(), 9)
    assert decide("inpaint", model=model, mask_box="0,0,9,9").change.method == "inpainting"
    with pytest.raises(RequestError, match="is an inpainting model"):
        decide("text-to-image", (), model=model)


def test_parents_without_recipes_are_mixed_as_pictures_at_the_first_ones_size():
    plan = decide("blend", PARENTS, prompt=None)
    assert plan.change.method == "latents"
    assert (plan.width, plan.height, plan.weights) == (128, 128, (0.5, 0.5))
    assert "a.png carries no recipe" in plan.reasons["method"]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("0.7,0.4", "add up to 1.1, not to 1"),
        ("1", "are 1, and there are 2 parents"),
        ("1.5,-0.5", "negative or not a number"),
        ("nan,1", "negative or not a number"),
        ("a,b", "is not a list of numbers"),
        ("", "is not a list of numbers"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights, message):
    with pytest.raises(RequestError, match=message):
        decide("blend", PARENTS, weights=weights)


def test_the_hint_for_weights_keeps_their_ratio():
    with pytest.raises(RequestError) as caught:
        decide("blend", PARENTS, weights="3,1")
    assert caught.value.hint == "--weights 0.75,0.25"


@pytest.mark.parametrize("mutate", [-0.1, 1.1, float("nan")])
def test_a_mutation_is_a_share(mutate):
    with pytest.raises(RequestError, match="is not in 0 to 1"):
        decide("blend", PARENTS, mutate=mutate)


def test_inpainting_wants_one_mask():
    with pytest.raises(RequestError, match="needs to know what to repaint"):
        decide("inpaint")
    with pytest.raises(RequestError, match="both say what to repaint"):
        decide("inpaint", mask="m.png", mask_box="0,0,9,9")


def test_outpainting_wants_to_know_how_far_and_nothing_else():
    with pytest.raises(RequestError, match="needs to know how far"):
        decide("outpaint")
    with pytest.raises(RequestError, match="imggen outpaint has no such option"):
        decide("outpaint", pad="64", width=512)
    plan = decide("outpaint", pad="64,0")
    assert (plan.width, plan.height, plan.change.pad) == (512, 512, (64, 0, 64, 0))


def test_what_a_task_does_not_have_is_refused_when_typed_and_left_out_when_a_preset_says_it():
    with pytest.raises(RequestError, match="imggen generate has no such option"):
        decide("text-to-image", (), strength=0.5)
    plan = decide("text-to-image", (), strength=0.5, origin={"strength": "preset soft"})
    assert plan.change is None


def test_a_picture_too_large_for_the_model_gets_the_size_of_its_shape_that_is_not():
    with pytest.raises(RequestError, match="makes edges of 64 to 2048 px") as caught:
        decide("image-to-image", (replace(PHOTO, width=6000, height=4000),))
    assert caught.value.hint == "--size 2048x1368"
    assert Path(PHOTO.name).suffix == ".png"


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({}, (512, 384)),
        ({"width": 256}, (256, 192)),
        ({"height": 192}, (256, 192)),
        ({"size": "100x200"}, (100, 200)),
        ({"aspect": "1:1"}, (384, 384)),
        ({"aspect": "2:1"}, (512, 256)),
        ({"aspect": "2:1", "width": 300}, (300, 150)),
    ],
)
def test_sizes_start_from_the_given_picture(said, size):
    plan = decide("image-to-image", **said)
    assert (plan.width, plan.height) == size
    assert all(edge % 8 == 0 and 0 <= edge - own < 8 for edge, own in zip(plan.canvas, size, strict=True))


def test_seamless_pictures_are_decoded_whole():
    assert decide("text-to-image", (), tile="xy", width=2048, height=2048).vae_tile == 0
    with pytest.raises(RequestError, match="contradict each other"):
        decide("text-to-image", (), tile="xy", vae_tiling="on")


def test_a_sampler_that_cannot_start_from_a_picture_is_refused_for_pictures_only():
    assert decide("text-to-image", (), model=flux(), sampler="dpmpp_2m").sampler == "dpmpp_2m"
    with pytest.raises(RequestError, match="it cannot start from a picture"):
        decide("image-to-image", model=flux(), sampler="dpmpp_2m")
    assert decide("image-to-image", sampler="dpmpp_2m").sampler == "dpmpp_2m"


@pytest.mark.parametrize(
    ("task", "said", "pipeline", "method", "strength"),
    [
        ("image-to-image", {}, "Flux2KleinPipeline", "reference", None),
        ("style", {"like": "s.png"}, "Flux2KleinPipeline", "reference", None),
        ("inpaint", {"mask_box": "0,0,64,64"}, "Flux2KleinInpaintPipeline", "inpainting", 1.0),
        ("outpaint", {"pad": "64"}, "Flux2KleinInpaintPipeline", "inpainting", 1.0),
    ],
)
@pytest.mark.parametrize("is_distilled", [True, False])
def test_a_family_that_looks_at_pictures_has_a_method_for_each_task(
    task, said, pipeline, method, strength, is_distilled
):
    plan = decide(task, model=klein(is_distilled=is_distilled), **said)
    assert (plan.pipeline, plan.change.method, plan.change.strength) == (pipeline, method, strength)
    assert ("strength" in plan.arguments) == (strength is not None)
    assert (plan.arguments["width"], plan.arguments["height"]) == plan.canvas


@pytest.mark.parametrize("task", ["image-to-image", "style"])
def test_editing_by_looking_knows_no_strength(task):
    with pytest.raises(
        RequestError, match=r"--strength 0.5: FLUX.2 klein edits by looking .*, which starts from noise"
    ):
        decide(task, model=klein(), strength=0.5, like="s.png" if task == "style" else None)


def test_editing_a_picture_wants_words():
    with pytest.raises(RequestError, match="the prompt is empty"):
        decide("image-to-image", model=klein(), prompt=None)


def test_a_family_that_looks_at_pictures_blends_only_what_it_can_draw_again():
    with pytest.raises(RequestError, match=r"a.png carries no recipe, and FLUX.2 klein starts from noise"):
        decide("blend", PARENTS, model=klein(), prompt=None)


def test_a_family_that_looks_at_the_style_itself_takes_no_adapter():
    with pytest.raises(RequestError, match="it reads the style picture itself"):
        decide("style", model=klein(), like="s.png", ip_adapter_weights="a:0.5")


@pytest.mark.parametrize("is_distilled", [True, False])
def test_klein_takes_no_negative_prompt(is_distilled):
    with pytest.raises(RequestError, match="takes no negative prompt"):
        decide("text-to-image", (), model=klein(is_distilled=is_distilled), negative_prompt="blurry")


def test_a_style_without_words_is_told_what_to_do_whatever_its_content_shows():
    told = "image 1 in the style of image 2"
    for said in ({"prompt": None}, {"prompt": "an apple", "origin": {"prompt": PARENTS_SAY}}):
        plan = decide("style", model=klein(), like="s.png", **said)
        assert (plan.prompt, plan.arguments["prompt"]) == (told, told)
        assert plan.notes == (f"no prompt says what to do with the pictures; the model is told: {told!r}",)
    for said in ({"prompt": "in chalk"}, {"prompt": "in chalk", "origin": {"prompt": RECIPE}}):
        plan = decide("style", model=klein(), like="s.png", **said)
        assert (plan.prompt, plan.notes) == ("in chalk", ())
