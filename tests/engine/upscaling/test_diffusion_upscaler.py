import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionLatentUpscalePipeline,
    StableDiffusionUpscalePipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextModel

from imggen.engine.upscaling import diffusion_upscaler
from imggen.engine.upscaling.diffusion_upscaler import Placement, Wishes
from imggen.engine.upscaling.tiling import Tiling
from imggen.errors import MachineError, ModelError, PictureError
from imggen.host import environment
from imggen.store import model_folder
from tests.tiny_models import clip_config, clip_tokenizer

WISHES = Wishes(prompt="a red apple", seed=5, steps=2)


def autoencoder(channels):
    levels = len(channels)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=0.08333,
    ).eval()


def four_times(root):
    torch.manual_seed(0)
    return StableDiffusionUpscalePipeline(
        vae=autoencoder((8, 8, 16)),
        text_encoder=CLIPTextModel(clip_config()).eval(),
        tokenizer=clip_tokenizer(root),
        unet=UNet2DConditionModel(
            block_out_channels=(16, 32),
            layers_per_block=1,
            in_channels=7,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
            num_class_embeds=100,
        ).eval(),
        low_res_scheduler=DDPMScheduler(),
        scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
        max_noise_level=99,
    )


def twice(root):
    torch.manual_seed(0)
    return StableDiffusionLatentUpscalePipeline(
        vae=autoencoder((8, 8, 8, 16)),
        text_encoder=CLIPTextModel(clip_config()).eval(),
        tokenizer=clip_tokenizer(root),
        unet=UNet2DConditionModel(
            act_fn="gelu",
            attention_head_dim=8,
            norm_num_groups=None,
            block_out_channels=(32, 32, 64, 64),
            layers_per_block=1,
            time_cond_proj_dim=160,
            conv_in_kernel=1,
            conv_out_kernel=1,
            cross_attention_dim=32,
            in_channels=8,
            out_channels=5,
            down_block_types=("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 3),
            mid_block_type=None,
            up_block_types=(*("KCrossAttnUpBlock2D",) * 3, "KUpBlock2D"),
            resnet_time_scale_shift="scale_shift",
            time_embedding_type="fourier",
            timestep_post_act="gelu",
        ).eval(),
        scheduler=EulerDiscreteScheduler(prediction_type="sample"),
    )


BUILDERS = {4: four_times, 2: twice}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a function from a factor to the folder of a tiny model that enlarges by it."""
    root = tmp_path_factory.mktemp("enlargers")

    def folder(factor):
        place = root / str(factor)
        if not place.exists():
            BUILDERS[factor](root).save_pretrained(place)
        return place

    return folder


@pytest.fixture(scope="module")
def pipelines(folders):
    """Return a function from a factor to a pipeline that was loaded from its folder."""
    loaded = {}

    def pipeline(factor):
        if factor not in loaded:
            loaded[factor] = diffusion_upscaler.load(facts(folders(factor)), Placement())
        return loaded[factor]

    return pipeline


def facts(folder):
    return model_folder.read(folder, reference=str(folder), source="folder")


def picture(width, height, mode="RGB", seed=0):
    return Image.frombytes(mode, (width, height), np.random.default_rng(seed).bytes(width * height * len(mode)))


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("factor", [4, 2])
def test_a_folder_becomes_a_pipeline_that_knows_its_factor(pipelines, factor):
    pipeline = pipelines(factor)
    assert type(pipeline).__name__ in diffusion_upscaler.KINDS
    assert diffusion_upscaler.factor(pipeline) == factor


@pytest.mark.parametrize(("factor", "tile"), [(4, 256), (2, 512)])
def test_the_suggested_tile_is_a_megapixel_when_it_is_drawn(pipelines, factor, tile):
    suggested = diffusion_upscaler.suggest_tile(pipelines(factor))
    assert suggested == Tiling(tile=tile, overlap=2 * diffusion_upscaler.MARGIN + diffusion_upscaler.BLEND)


@pytest.mark.parametrize("size", [(32, 32), (37, 21), (5, 40)])
@pytest.mark.parametrize("factor", [4, 2])
def test_every_size_is_enlarged_by_exactly_the_factor(pipelines, factor, size):
    drawn = diffusion_upscaler.enlarge(pipelines(factor), picture(*size), WISHES)
    assert (drawn.size, drawn.mode) == ((size[0] * factor, size[1] * factor), "RGB")


@pytest.mark.parametrize("factor", [4, 2])
def test_one_tile_is_what_the_pipeline_itself_draws_from_that_noise(pipelines, factor):
    pipeline, image = pipelines(factor), picture(64, 64)
    generator = torch.Generator().manual_seed(5)
    shape = (1, 4, 64, 64) if factor == 4 else (1, 4, 16, 16)
    latents = torch.randn(shape, generator=generator)
    level = {"noise_level": 20} if factor == 4 else {}
    guidance = {4: 9.0, 2: 0.0}[factor]
    with environment.quiet():
        own = pipeline("a red apple", image, 2, guidance, generator=generator, latents=latents, **level).images[0]
    drawn = diffusion_upscaler.enlarge(pipeline, image, WISHES)
    assert np.abs(pixels(drawn) - pixels(own)).max() <= 1


@pytest.mark.parametrize("change", [{"seed": 6}, {"steps": 3}, {"prompt": "a pear", "guidance": 5.0}])
def test_the_same_wishes_give_the_same_picture_and_others_another(pipelines, change):
    image, pipeline = picture(32, 32), pipelines(4)
    first = diffusion_upscaler.enlarge(pipeline, image, WISHES)
    assert np.array_equal(pixels(first), pixels(diffusion_upscaler.enlarge(pipeline, image, WISHES)))
    other = diffusion_upscaler.enlarge(pipeline, image, replace(WISHES, **change))
    assert not np.array_equal(pixels(first), pixels(other))


@pytest.mark.parametrize(("factor", "size", "tile", "tiles"), [(4, (60, 44), 40, 6), (2, (130, 64), 128, 2)])
def test_a_large_picture_is_drawn_in_tiles_and_every_step_is_told(pipelines, factor, size, tile, tiles):
    events = []
    drawn = diffusion_upscaler.enlarge(
        pipelines(factor), picture(*size), WISHES, tiling=Tiling(tile=tile, overlap=24), on_event=events.append
    )
    assert drawn.size == (size[0] * factor, size[1] * factor)
    assert events[0].stage == "encode"
    assert [each.step for each in events[1:]] == list(range(2 * tiles + 1))
    assert {each.steps for each in events[1:]} == {2 * tiles}


def test_guidance_without_words_costs_no_second_pass(pipelines):
    pipeline, batches = pipelines(4), []
    hook = pipeline.unet.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    try:
        diffusion_upscaler.enlarge(pipeline, picture(16, 16), replace(WISHES, prompt="", guidance=9.0))
        diffusion_upscaler.enlarge(pipeline, picture(16, 16), replace(WISHES, guidance=9.0))
    finally:
        hook.remove()
    assert batches == [1, 1, 2, 2]


def test_alpha_is_kept(pipelines):
    image = picture(32, 32)
    alpha = Image.new("L", (32, 32))
    alpha.paste(255, (8, 8, 24, 24))
    image.putalpha(alpha)
    drawn = diffusion_upscaler.enlarge(pipelines(4), image, WISHES)
    assert (drawn.mode, drawn.size) == ("RGBA", (128, 128))
    assert drawn.getpixel((64, 64))[3] == 255
    assert drawn.getpixel((4, 4))[3] == 0


def test_a_result_that_is_not_made_of_numbers_is_a_picture_error(pipelines):
    pipeline = pipelines(4)
    hook = pipeline.unet.register_forward_hook(lambda _, __, found: (found[0] * float("nan"),))
    try:
        with pytest.raises(PictureError, match="not made of numbers"):
            diffusion_upscaler.enlarge(pipeline, picture(32, 32), WISHES)
    finally:
        hook.remove()


def test_running_out_of_memory_suggests_smaller_tiles(pipelines):
    def hungry(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    pipeline = pipelines(4)
    hook = pipeline.unet.register_forward_pre_hook(hungry)
    try:
        with pytest.raises(MachineError, match="was given a tile of 200x160 px") as caught:
            diffusion_upscaler.enlarge(pipeline, picture(200, 160), WISHES)
    finally:
        hook.remove()
    assert caught.value.hint == "--tile-size 100"


def test_what_is_raised_on_the_way_leaves_the_pipeline_usable(pipelines):
    def stop(event):
        if event.stage == "denoise" and event.step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        diffusion_upscaler.enlarge(pipelines(4), picture(32, 32), WISHES, on_event=stop)
    assert diffusion_upscaler.enlarge(pipelines(4), picture(32, 32), WISHES).size == (128, 128)


def test_a_model_that_draws_from_words_is_refused_before_it_is_loaded(tiny_models):
    with pytest.raises(ModelError, match="is a StableDiffusionPipeline, which does not enlarge pictures"):
        diffusion_upscaler.load(facts(tiny_models("sd")), Placement())


def test_damage_after_the_facts_were_read_is_a_model_error(folders, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folders(4), folder)
    known = facts(folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="unet"):
        diffusion_upscaler.load(known, Placement())


def test_no_bar_is_drawn(pipelines, capfd):
    diffusion_upscaler.enlarge(pipelines(4), picture(16, 16), WISHES)
    assert capfd.readouterr() == ("", "")
