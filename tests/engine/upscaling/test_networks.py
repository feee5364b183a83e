import hashlib
import json
import pickle
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
import spandrel
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DnCNN import DnCNN
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR

from imggen.engine.upscaling import compact, networks, upscaler
from imggen.engine.upscaling.tiling import Rules, Tiling
from imggen.errors import MachineError, ModelError, PictureError, RequestError
from imggen.plan.upscaling.upscalers import BUILTIN_SCALES

ARCHITECTURES = {
    "esrgan": lambda: ESRGAN(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=4),
    "unshuffled": lambda: ESRGAN(in_nc=12, out_nc=3, num_filters=8, num_blocks=1, scale=4, shuffle_factor=2),
    "compact": lambda: Compact(num_feat=8, num_conv=2, upscale=2),
    "span": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
    "grey": lambda: Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2),
    "swinir": lambda: SwinIR(
        img_size=16,
        window_size=8,
        depths=(1, 1),
        embed_dim=12,
        num_heads=(2, 2),
        mlp_ratio=2,
        upscale=2,
        upsampler="pixelshuffledirect",
    ),
    "restores": lambda: Compact(num_feat=8, num_conv=1, upscale=1),
    "denoises": lambda: DnCNN(in_nc=3, out_nc=3, nc=8, nb=9, act_mode="R"),
    "four": lambda: Compact(num_in_ch=4, num_out_ch=4, num_feat=8, num_conv=1, upscale=2),
}
LOUD = 4.0

# spandrel's own code
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a function from an architecture's name to a safetensors file of it with random weights."""
    folder = tmp_path_factory.mktemp("networks")

    def path(name):
        place = folder / f"{name}.safetensors"
        if not place.exists():
            torch.manual_seed(1)
            save_file(
                {key: each.clone().contiguous() for key, each in ARCHITECTURES[name]().state_dict().items()}, place
            )
        return place

    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Return a folder with built-in networks of random weights, loud enough to change pictures visibly."""
    folder = tmp_path_factory.mktemp("builtin")
    for scale in BUILTIN_SCALES:
        torch.manual_seed(scale)
        weights = compact.build(8, 3, scale).state_dict()
        weights["body.8.weight"] *= LOUD
        save_file(weights, folder / f"x{scale}.safetensors")
    return folder


def picture(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box=(0, 0, width / 3, height / 3))


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0) / 255


def difference(one, other):
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


@pytest.mark.parametrize("scale", [2, 4])
def test_the_builtin_network_tells_its_shape_from_its_file(own, scale):
    network = networks.builtin(scale, device="cpu", folder=own)
    assert (network.name, network.scale, network.channels, network.dtype) == (f"builtin-x{scale}", scale, 3, "float32")
    assert network.rules == Rules(margin=5)
    assert network.sha256 == hashlib.sha256((own / f"x{scale}.safetensors").read_bytes()).hexdigest()
    assert network.bytes_per_pixel >= 8 * 4 * 2
    drawn = network(torch.rand(2, 3, 6, 7))
    assert (drawn.shape, drawn.dtype) == ((2, 3, 6 * scale, 7 * scale), torch.float32)
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_spandrel_reads_the_builtin_file_and_draws_the_same(own):
    network = networks.builtin(2, device="cpu", folder=own)
    given = tensor(picture(20, 14))
    other = spandrel.ModelLoader().load_from_file(own / "x2.safetensors")
    assert torch.allclose(network(given), other(given), atol=1e-5)


@pytest.mark.parametrize("tile", [16, 23, 33])
def test_the_builtin_networks_tiles_meet_without_a_trace(own, tile):
    network = networks.builtin(4, device="cpu", folder=own)
    image = picture(61, 47)
    whole = upscaler.enlarge(image, network, (244, 188), tiling=Tiling(tile=0))
    tiled = upscaler.enlarge(image, network, (244, 188), tiling=Tiling(tile=tile))
    assert np.array_equal(np.asarray(whole), np.asarray(tiled))


def test_there_is_no_builtin_network_for_every_scale(own):
    with pytest.raises(RequestError, match="no built-in network enlarges 3 times"):
        networks.builtin(3, device="cpu", folder=own)


def test_a_damaged_installation_is_told_how_to_mend_itself(own, tmp_path):
    with pytest.raises(ModelError, match=r"x2\.safetensors cannot be read") as caught:
        networks.builtin(2, device="cpu", folder=tmp_path)
    assert caught.value.hint == "pip install --force-reinstall imggen"
    save_file({"body.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "x2.safetensors")
    with pytest.raises(ModelError, match="the built-in network cannot be read"):
        networks.builtin(2, device="cpu", folder=tmp_path)
    (tmp_path / "x2.safetensors").write_bytes((own / "x4.safetensors").read_bytes())
    with pytest.raises(ModelError, match="enlarges 4 times, not 2"):
        networks.builtin(2, device="cpu", folder=tmp_path)


@pytest.mark.parametrize("name", ["esrgan", "unshuffled", "compact", "span", "swinir"])
def test_a_network_in_a_file_draws_what_spandrel_draws(files, name):
    network = networks.read(files(name), device="cpu")
    descriptor = spandrel.ModelLoader().load_from_file(files(name))
    given = tensor(picture(24, 32))
    assert network.scale == descriptor.scale
    assert network.name == f"{name}.safetensors"
    assert torch.equal(network(given), descriptor(given))


@pytest.mark.parametrize("name", ["esrgan", "unshuffled", "compact", "span", "swinir"])
def test_tiled_is_within_one_grey_level_of_untiled(files, name):
    network = networks.read(files(name), device="cpu")
    image = picture(150, 75)
    size = (150 * network.scale, 75 * network.scale)
    whole = upscaler.enlarge(image, network, size, tiling=Tiling(tile=0))
    tiling = Tiling(tile=96, overlap=network.rules.overlap)
    assert difference(whole, upscaler.enlarge(image, network, size, tiling=tiling)) <= 1
    assert difference(whole, upscaler.lanczos(image, size)) > 8


def test_networks_of_convolutions_know_how_far_they_look(files):
    assert networks.read(files("compact"), device="cpu").rules == Rules(margin=4)
    assert networks.read(files("esrgan"), device="cpu").rules == Rules(margin=21, minimum=2)
    unshuffled = networks.read(files("unshuffled"), device="cpu").rules
    assert (unshuffled.margin, unshuffled.multiple_of) == (networks.MOST_MARGIN, 4)
    swinir = networks.read(files("swinir"), device="cpu").rules
    assert (swinir.blend, swinir.window, swinir.minimum) == (networks.BLEND, networks.WINDOW, 16)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 5)])
def test_pictures_below_the_networks_minimum_are_drawn_all_the_same(files, size):
    network = networks.read(files("swinir"), device="cpu")
    assert upscaler.enlarge(picture(*size), network, (size[0] * 2, size[1] * 2)).size == (size[0] * 2, size[1] * 2)


def test_a_grey_network_draws_each_colour_by_itself(files):
    network = networks.read(files("grey"), device="cpu")
    given = tensor(picture(9, 8))
    descriptor = spandrel.ModelLoader().load_from_file(files("grey"))
    assert network.channels == 1
    assert torch.allclose(network(given)[0, 2], descriptor(given[:, 2:])[0, 0], atol=1e-6)


def test_precisions_are_those_that_the_network_can_take(files):
    network = networks.read(files("esrgan"), device="cpu")
    assert (network.dtypes, network.dtype) == (("float32", "bfloat16", "float16"), "float32")
    given = tensor(picture(16, 16))
    coarse = networks.read(files("esrgan"), device="cpu", dtype="bfloat16")
    assert coarse.dtype == "bfloat16"
    assert 0 < (coarse(given) - network(given)).abs().max() < 0.05


def test_a_precision_that_the_network_cannot_take_is_refused(files):
    with pytest.raises(RequestError, match=r"--dtype float16: swinir\.safetensors cannot compute in it"):
        networks.read(files("swinir"), device="cpu", dtype="float16")
    # spandrel says that it could
    with pytest.raises(ModelError, match=r"swinir\.safetensors fails at a picture of 32x32 px in bfloat16") as caught:
        networks.read(files("swinir"), device="cpu", dtype="bfloat16")
    assert caught.value.hint == "--dtype float32"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("restores", "restores pictures"),
        ("denoises", "restores pictures"),
        ("four", "turns 4 channels into 4"),
    ],
)
def test_networks_that_enlarge_no_colour_pictures_are_refused(files, name, words):
    with pytest.raises(ModelError, match=words):
        networks.read(files(name), device="cpu")


FOREIGN = {
    "lora_unet_down.lora_down.weight": "a LoRA",
    "model.diffusion_model.input_blocks.0.0.weight": "a Stable Diffusion checkpoint",
    "down_blocks.0.resnets.0.conv1.weight": "a diffusion model's U-Net",
    "double_blocks.0.img_attn.qkv.weight": "a diffusion transformer",
    "decoder.up_blocks.0.conv.weight": "an autoencoder",
    "text_model.embeddings.token_embedding.weight": "a text model",
    "emb_params": "a textual inversion",
    "something.else": "holds 1 tensors, such as 'something.else'",
}


@pytest.mark.parametrize(("key", "what"), FOREIGN.items())
def test_a_file_of_another_kind_is_named_for_what_it_seems_to_be(tmp_path, key, what):
    path = tmp_path / "other.safetensors"
    save_file({key: torch.zeros(4, 4)}, path)
    with pytest.raises(ModelError, match=re.escape(what)) as caught:
        networks.read(path, device="cpu")
    assert str(path) in caught.value.message


def header(entries, data=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


BROKEN = {
    "empty": b"",
    "text": b"not a network, just a note to myself about upscalers",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "header alone": struct.pack("<Q", 1 << 40),
    "cut short": header({"body.0.weight": {"dtype": "F32", "shape": [8, 3, 3, 3], "data_offsets": [0, 864]}}, b"1234"),
    "shape lies": header({"body.0.weight": {"dtype": "F32", "shape": [9999], "data_offsets": [0, 4]}}, b"1234"),
    "no tensors": header({}),
    "dtype unheard of": header({"a": {"dtype": "F3", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".onnx"])
def test_what_is_no_network_is_refused_by_name(tmp_path, data, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=re.escape(str(path))):
        networks.read(path, device="cpu", allow_pickle=True)


def test_a_layer_number_out_of_all_proportion_builds_nothing(files, tmp_path):
    path = tmp_path / "endless.safetensors"
    tensors = spandrel.ModelLoader().load_state_dict_from_file(files("compact"))
    save_file(tensors | {"body.900000000.bias": torch.zeros(12)}, path)
    with pytest.raises(ModelError, match="counts layers up to 900000000"):
        networks.read(path, device="cpu")
    torch.save(tensors | {"body.900000000.bias": torch.zeros(12)}, path.with_suffix(".pth"))
    with pytest.raises(ModelError, match="counts layers up to 900000000"):
        networks.read(path.with_suffix(".pth"), device="cpu", allow_pickle=True)


def test_tensors_that_do_not_fit_each_other_are_refused(files, tmp_path):
    path = tmp_path / "torn.safetensors"
    tensors = spandrel.ModelLoader().load_state_dict_from_file(files("esrgan"))
    save_file({name: each for name, each in tensors.items() if "RDB2" not in name}, path)
    with pytest.raises(ModelError, match="cannot be loaded as a network"):
        networks.read(path, device="cpu")


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_pickle_is_read_where_that_is_allowed_and_not_otherwise(files, tmp_path, suffix):
    path = tmp_path / f"network{suffix}"
    torch.save({"params_ema": spandrel.ModelLoader().load_state_dict_from_file(files("esrgan"))}, path)
    with pytest.raises(ModelError, match="is a pickle, which can run code") as caught:
        networks.read(path, device="cpu")
    assert "--allow-pickle" in caught.value.hint
    assert "network.safetensors" in caught.value.hint
    given = tensor(picture(8, 8))
    read = networks.read(path, device="cpu", allow_pickle=True)
    assert torch.equal(read(given), networks.read(files("esrgan"), device="cpu")(given))


class _Marker:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_that_would_run_code_does_not(tmp_path, save, suffix):
    path, mark = tmp_path / f"network{suffix}", tmp_path / "mark"
    save({"body.0.weight": _Marker(mark)}, path)
    with pytest.raises(ModelError, match="network"):
        networks.read(path, device="cpu", allow_pickle=True)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_program_is_not_read_at_all(tmp_path, suffix):
    path = tmp_path / f"network{suffix}"
    torch.jit.save(torch.jit.trace(compact.build(4, 1, 2), torch.zeros(1, 3, 4, 4)), path)
    with pytest.raises(ModelError, match="is a TorchScript program"):
        networks.read(path, device="cpu", allow_pickle=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_when_they_are_read(files, tmp_path, value):
    path = tmp_path / "nothing.safetensors"
    tensors = spandrel.ModelLoader().load_state_dict_from_file(files("compact"))
    tensors["body.6.bias"][0] = value
    save_file(tensors, path)
    with pytest.raises(ModelError, match="not made of numbers"):
        networks.read(path, device="cpu")


def test_a_result_that_is_no_number_is_a_picture_error(own):
    network = networks.builtin(2, device="cpu", folder=own)
    with pytest.raises(PictureError, match="what builtin-x2 drew is not made of numbers"):
        network(torch.full((1, 3, 8, 8), float("inf")))


def test_running_out_of_memory_names_the_tile(own):
    def hungry(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    network = replace(networks.builtin(2, device="cpu", folder=own), forward=hungry)
    with pytest.raises(
        MachineError, match=r"builtin-x2, which computes on cpu in float32, was given a tile of 300x8 px"
    ) as caught:
        network(torch.zeros(1, 3, 8, 300))
    assert caught.value.hint == "--tile-size 150"
