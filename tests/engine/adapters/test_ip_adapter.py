import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from imggen.engine.adapters import ip_adapter
from imggen.errors import ModelError
from imggen.host import environment
from imggen.plan.adapters import ip_adapter_layouts
from imggen.plan.adapters.ip_adapter_layouts import UNET
from imggen.plan.schema.adapter import AdapterRequest
from imggen.store import ip_adapter_files
from imggen.store.weights import AccessRules
from tests.engine import pipelines
from tests.tiny_adapters import HIDDEN, PROJECTED, attentions, plain, resampler, save_encoder

STYLES = [pipelines.noise_picture(seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a tiny random image encoder."""
    return save_encoder(tmp_path_factory.mktemp("clip") / "image_encoder")


@pytest.fixture
def lay_out(tmp_path, encoder):
    """Return a function that puts adapters and encoders where the names say, below a folder that it returns."""

    def lay(files, *, encoders=("image_encoder",)):
        for name, tensors in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, tmp_path / name)
        for name in encoders:
            shutil.copytree(encoder, tmp_path / name)
        return tmp_path

    return lay


def sd(root):
    return pipelines.tiny("sd", root)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A tiny model for tests in which nothing may be loaded."""
    return sd(tmp_path_factory.mktemp("tiny"))


def plus(unet, *, hidden=HIDDEN, inner=64):
    """The tensors of an adapter of the `plus` kind, which looks at the encoder's hidden states."""
    generator, width = pipelines.generator(0), unet.config.cross_attention_dim
    shapes = {"latents": (1, 4, inner), "proj_in.weight": (inner, hidden), "proj_out.weight": (width, inner)}
    shapes |= {
        "proj_in.bias": (inner,),
        "proj_out.bias": (width,),
        "norm_out.weight": (width,),
        "norm_out.bias": (width,),
    }
    shapes |= resampler(inner)
    random = {f"image_proj.{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return random | dict(attentions(unet, generator=generator))


def drawn(pipeline, **options):
    return pipelines.pixels(pipelines.drawn(pipeline, width=64, height=64, **options))


def worn(pipeline):
    return ip_adapter_files.AdapterTarget(layout=UNET, config=dict(pipeline.unet.config))


def load(pipeline, reference, scale=1.0, *, allow_pickle=False):
    """Find the adapter that fits the pipeline's U-Net, add it, and return its file."""
    asked = AdapterRequest(kind="ip-adapter", option="--ip-adapter-weights", reference=str(reference), scale=scale)
    found = ip_adapter_files.find(asked, worn(pipeline), terms=AccessRules(allow_pickle=allow_pickle))
    with environment.quiet():
        ip_adapter.load_ip_adapter(pipeline, found, UNET, dtype=pipeline.unet.dtype, allow_pickle=allow_pickle)
    return found.files[0]


@pytest.mark.parametrize("kind", [plain, plus])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_the_picture_that_is_shown_decides_and_a_scale_of_nothing_shows_nothing(tmp_path, lay_out, family, kind):
    pipeline = pipelines.tiny(family, tmp_path)
    without = drawn(pipeline)
    folder = lay_out({"ip-adapter.safetensors": kind(pipeline.unet)})
    assert load(pipeline, folder) == folder / "ip-adapter.safetensors"
    first, second = (drawn(pipeline, ip_adapter_image=each) for each in STYLES)
    assert (first != without).any()
    assert (first != second).any()
    pipeline.set_ip_adapter_scale(0.0)
    np.testing.assert_array_equal(drawn(pipeline, ip_adapter_image=STYLES[0]), without)


def test_the_scale_is_the_one_that_was_asked_for(tmp_path, lay_out):
    pipeline = sd(tmp_path)
    without = drawn(pipeline)
    load(pipeline, lay_out({"ip-adapter.safetensors": plain(pipeline.unet)}), 0.0)
    np.testing.assert_array_equal(drawn(pipeline, ip_adapter_image=STYLES[0]), without)


def test_half_precision_files_take_the_models_own_dtype(tmp_path, lay_out):
    pipeline = sd(tmp_path)
    halved = {name: each.half() for name, each in plain(pipeline.unet).items()}
    load(pipeline, lay_out({"ip-adapter.safetensors": halved}))
    assert {each.dtype for each in pipeline.unet.parameters()} == {torch.float32}
    assert {each.dtype for each in pipeline.image_encoder.parameters()} == {torch.float32}


def test_image_to_image_made_from_the_same_components_has_the_adapter_too(tmp_path, lay_out):
    pipeline = sd(tmp_path)
    load(pipeline, lay_out({"ip-adapter.safetensors": plain(pipeline.unet)}))
    changing = pipelines.img2img(pipeline)
    made = [pipelines.drawn(changing, image=STYLES[0], strength=0.67, ip_adapter_image=each) for each in STYLES]
    assert (pipelines.pixels(made[0]) != pipelines.pixels(made[1])).any()


def test_the_built_in_model_can_carry_an_adapter_where_it_looks_at_words(lay_out):
    # Not the one that other tests share: an adapter stays.
    pipeline = pipelines.builtin.__wrapped__()
    words = {"width": 128, "height": 128, "guidance_scale": 3.0}
    without = pipelines.pixels(pipelines.drawn(pipeline, **words))
    tensors = plain(pipeline.unet)
    assert sum("to_k_ip" in name for name in tensors) == 4
    load(pipeline, lay_out({"ip-adapter.safetensors": tensors}))
    shown = pipelines.pixels(pipelines.drawn(pipeline, ip_adapter_image=STYLES[0], **words))
    assert (shown != without).any()


def untouched(pipeline):
    return pipeline.image_encoder is None and pipeline.unet.encoder_hid_proj is None


def refused(pipeline, reference, message, **options):
    with pytest.raises(ModelError, match=message) as caught:
        load(pipeline, reference, **options)
    assert untouched(pipeline)
    return caught.value


def test_an_adapter_for_another_model_is_refused_by_its_channels(tmp_path, pristine, lay_out):
    other = plain(pipelines.tiny("sdxl", tmp_path).unet)
    folder = lay_out({"xl.safetensors": other})
    refused(pristine, folder, r"xl\.safetensors was made for a model whose text has 64 channels; this one's has 32")


def test_an_adapter_for_a_deeper_model_is_refused_by_its_count(pristine, lay_out):
    more = {f"ip_adapter.99.{layer}.weight": torch.zeros(32, 32) for layer in ("to_k_ip", "to_v_ip")}
    folder = lay_out({"one.safetensors": plain(pristine.unet) | more})
    refused(pristine, folder, r"made for \d+ cross-attentions; this model has \d+")


def test_an_adapter_for_a_wider_model_is_refused_by_the_layer(pristine, lay_out):
    folder = lay_out({"one.safetensors": plain(pristine.unet) | {"ip_adapter.1.to_v_ip.weight": torch.zeros(99, 32)}})
    refused(pristine, folder, r"ip_adapter\.1\.to_v_ip\.weight is \(99, 32\), not \(64, 32\)")


def test_an_adapter_for_faces_is_refused_as_unknown(pristine, lay_out):
    face = {f"image_proj.{name}.weight": torch.zeros(8, 8) for name in ("proj.0", "proj.2", "norm")}
    tensors = face | dict(attentions(pristine.unet, generator=None))
    refused(pristine, lay_out({"one.safetensors": tensors}), "of a kind that imggen does not know")


def test_an_encoder_that_lacks_weights_is_refused(pristine, lay_out):
    folder = lay_out({"one.safetensors": plain(pristine.unet)})
    save_file({"visual_projection.weight": torch.zeros(PROJECTED, HIDDEN)}, folder / "image_encoder/model.safetensors")
    refused(pristine, folder, r"image_encoder lacks \d+ of its weights")
    (folder / "image_encoder/model.safetensors").unlink()
    refused(pristine, folder, "image_encoder has no weights")


def test_a_pickle_is_refused_unless_it_is_allowed(tmp_path, lay_out):
    pipeline = sd(tmp_path)
    folder = lay_out({})
    torch.save(ip_adapter._parted(plain(pipeline.unet)), folder / "ip-adapter.bin")
    for reference in (folder, folder / "ip-adapter.bin"):
        assert refused(pipeline, reference, r"ip-adapter\.bin is a pickle").hint.endswith("add --allow-pickle")
    assert load(pipeline, folder, allow_pickle=True) == folder / "ip-adapter.bin"


@pytest.mark.parametrize("family", ["sd", "sdxl", "builtin"])
def test_the_config_of_a_unet_tells_its_cross_attentions(tmp_path, family):
    unet = pipelines.builtin().unet if family == "builtin" else pipelines.tiny(family, tmp_path).unet
    names = [each.removesuffix(".processor") for each in unet.attn_processors if each.endswith("attn2.processor")]
    assert ip_adapter_layouts.attentions(dict(unet.config)) == tuple(
        unet.get_submodule(each).inner_dim for each in names
    )


def test_a_unet_that_is_built_otherwise_is_not_guessed_at():
    assert ip_adapter_layouts.attentions({"block_out_channels": [32], "down_block_types": ["KDownBlock2D"]}) is None
