"""The peers' ways of writing down how a picture was made, each in a file as that program writes it."""

import json
import time
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from recipes import APPLE
from samples import picture, samples, saved, with_chunk, with_segment

from imggen.output.formats import container, exif, xmp
from imggen.output.formats.carriers import Changes
from imggen.output.metadata import comfyui, dialects, infotext, metadata
from imggen.output.metadata.dialects import Clues, ReadMetadata

A1111 = (
    "a red apple, (ripe:1.2)\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 42, Size: 24x18, "
    'Model hash: abc, Model: fine, Lora hashes: "a: 1, b: 2", Version: v1.10.1'
)
COMMON = {"seed": 42, "steps": 20, "guidance": 7.5}


def png(**texts: str) -> bytes:
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key.replace("__", " ").replace("_-", "-"), text)
    return saved(picture(), "png", pnginfo=info)


def with_comment(file_format: str, raw: bytes, kind: int = 7) -> bytes:
    block = exif.merge(None, {"UserComment": "x"})
    at = block.index(bytes((0x92, 0x86, 0, 7)))
    entry = bytes((0x92, 0x86, 0, kind)) + len(raw).to_bytes(4, "big") + len(block).to_bytes(4, "big")
    return container.replace(samples()[file_format], Changes(exif=block[:at] + entry + block[at + 12 :] + raw))


def with_xmp(file_format: str, **values: str) -> bytes:
    packet = xmp.merge(None, {key.replace("__", ":"): value for key, value in values.items()})
    return container.replace(samples()[file_format], Changes(xmp=packet))


def with_tags(file_format: str, **tags: str) -> bytes:
    made = Image.Exif()
    for name, text in tags.items():
        made[{"Make": 0x010F, "Model": 0x0110}[name]] = text
    return saved(picture(), file_format, exif=made)


def found(data: bytes) -> ReadMetadata:
    read = metadata.read(data).found
    assert read is not None
    return read


@pytest.mark.parametrize(
    "data",
    [
        png(parameters=A1111),
        with_chunk(samples()["png"], b"iTXt", b"parameters\0\0\0\0\0" + A1111.encode()),
        with_comment("jpeg", b"UNICODE\0" + A1111.encode("utf-16-be")),
        with_comment("webp", b"UNICODE\0" + A1111.encode("utf-16-be")),
        with_comment("webp", b"UNICODE\0" + A1111.encode("utf-16-le")),
        with_comment("jpeg", b"ASCII\0\0\0" + A1111.encode()),
        with_comment("jpeg", A1111.encode(), kind=1),
        with_comment("avif", b"UNICODE\0" + A1111.encode("utf-16-be")),
        with_comment("tiff", b"UNICODE\0" + A1111.encode("utf-16-be")),
        saved(picture(), "tiff", tiffinfo={0x010E: A1111}),
    ],
    ids=["png", "itxt", "jpeg", "webp", "little endian", "ascii", "bytes", "avif", "tiff", "tiff description"],
)
def test_a1111_is_read_from_every_place_it_is_put(data):
    read = found(data)
    assert read.dialect == "a1111"
    assert (read.prompt, read.negative_prompt) == ("a red apple, (ripe:1.2)", "blurry")
    assert read.settings == {
        **COMMON,
        "sampler": "DPM++ 2M",
        "scheduler": "Karras",
        "model": "fine",
        "model_hash": "abc",
        "width": 24,
        "height": 18,
        "Lora hashes": "a: 1, b: 2",
        "Version": "v1.10.1",
    }
    assert read.infotext == A1111


def test_forge_is_told_by_its_version():
    assert found(png(parameters=A1111.replace("v1.10.1", "f2.0.1v1.10.1"))).dialect == "forge"


SDCPP = (
    "a café at night\nNegative prompt: blurry\n"
    "Steps: 20, CFG scale: 7.500000, Guidance: 3.500000, Eta: 0.000000, Seed: 42, Size: 24x18, "
    "Model: fine.safetensors, RNG: cuda, Sampler: euler discrete, Version: stable-diffusion.cpp"
)


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(samples()["png"], b"tEXt", b"parameters\0" + SDCPP.encode() + b', SDCPP: {"a": 1, "b": 2}'),
        with_segment(samples()["jpeg"], 0xFE, b"parameters\0" + SDCPP.encode()),
        with_xmp("webp", sdcpp__parameters=SDCPP),
    ],
    ids=["png", "jpeg", "webp"],
)
def test_stable_diffusion_cpp_is_read_and_its_utf8_is_not_garbled(data):
    read = found(data)
    assert read.dialect == "stable-diffusion.cpp"
    assert read.prompt == "a café at night"
    assert read.settings.items() >= {**COMMON, "sampler": "euler discrete", "width": 24}.items()
    assert read.settings["Version"] == "stable-diffusion.cpp"


CIVITAI = (
    "a red apple\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 24x18, Clip skip: 2, "
    "Created Date: 2026-01-02T03:04:05.678Z, "
    'Civitai resources: [{"type":"checkpoint","modelVersionId":7,"modelName":"fine, indeed"},'
    '{"type":"lora","weight":0.8,"modelVersionId":8}], Civitai metadata: {}'
)


@pytest.mark.parametrize(
    "data",
    [
        with_comment("png", b"UNICODE\0" + CIVITAI.encode("utf-16-be")),
        with_comment("jpeg", b"UNICODE\0" + CIVITAI.encode("utf-16-be")),
        png(parameters=CIVITAI),
    ],
    ids=["exif of a png", "jpeg", "png"],
)
def test_civitai_is_read_and_its_resources_stay_whole(data):
    read = found(data)
    assert (read.dialect, read.prompt, read.negative_prompt) == ("civitai", "a red apple", "blurry")
    assert read.settings.items() >= {**COMMON, "model": "fine, indeed", "width": 24, "Clip skip": "2"}.items()
    assert json.loads(read.settings["Civitai resources"])[1] == {"type": "lora", "weight": 0.8, "modelVersionId": 8}
    assert not {"type", "weight", "modelVersionId"} & read.settings.keys()
    assert read.infotext == CIVITAI


def test_hashes_of_the_web_ui_are_one_setting():
    hashes = '{"model": "abc", "lora:a, b": "1"}'
    read = found(png(parameters=A1111.replace(", Version", f", Hashes: {hashes}, Version")))
    assert (read.dialect, read.settings["Hashes"], read.settings["model"]) == ("a1111", hashes, "fine")
    assert read.settings["Version"] == "v1.10.1"


@pytest.mark.parametrize("broken", ["[", '[{"type"', "[" * 100_000, "[1, 2", "{}", "[[1]]", '[{"type":"checkpoint"}]'])
def test_resources_that_are_none_leave_the_rest_readable(broken):
    text = f"a red apple\nSteps: 20, CFG scale: 7.5, Seed: 42, Civitai resources: {broken}"
    read = found(png(parameters=text))
    assert (read.prompt, read.settings["seed"], read.settings.get("model")) == ("a red apple", 42, None)


KSAMPLER = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42,
            "steps": 20,
            "cfg": 7.5,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["10", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "fine.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 24, "height": 18, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["11", 0], "clip": ["10", 1]}, "_meta": {"title": "x"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["10", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}, "is_changed": [float("nan")]},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "a", "model": ["4", 0], "clip": ["4", 1]}},
    "11": {"class_type": "PrimitiveString", "inputs": {"value": "a red apple"}},
}
FLUX = {
    "13": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["25", 0],
            "guider": ["22", 0],
            "sampler": ["16", 0],
            "sigmas": ["17", 0],
            "latent_image": ["27", 0],
        },
    },
    "22": {"class_type": "BasicGuider", "inputs": {"model": ["30", 0], "conditioning": ["26", 0]}},
    "26": {"class_type": "FluxGuidance", "inputs": {"guidance": 7.5, "conditioning": ["6", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red apple", "clip": ["11", 0]}},
    "11": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5", "type": "flux"}},
    "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
    "16": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "17": {
        "class_type": "BasicScheduler",
        "inputs": {"scheduler": "simple", "steps": 20, "denoise": 1, "model": ["30", 0]},
    },
    "27": {"class_type": "EmptyLatentImage", "inputs": {"width": 24, "height": 18}},
    "30": {"class_type": "UNETLoader", "inputs": {"unet_name": "fine.safetensors"}},
}


@pytest.mark.parametrize(("graph", "negative"), [(KSAMPLER, "blurry"), (FLUX, "")], ids=["ksampler", "flux"])
@pytest.mark.parametrize("place", ["png", "webp", "swapped tags", "avif", "animated png"])
def test_comfyui_graph_is_followed_to_its_prompt(graph, negative, place):
    text = json.dumps(graph)
    data = {
        "png": lambda: png(prompt=text, workflow="{}"),
        "webp": lambda: with_tags("webp", Model=f"prompt:{text}", Make="workflow:{}"),
        "swapped tags": lambda: with_tags("jpeg", Make=f"Prompt: {text}", Model="workflow:{}"),
        "avif": lambda: with_tags("avif", Model=f"prompt:{text}", Make="workflow:{}"),
        "animated png": lambda: with_chunk(samples()["png animated"], b"comf", b"prompt\0" + text.encode("latin-1")),
    }[place]()
    read = found(data)
    assert read.dialect == "comfyui"
    assert (read.prompt, read.negative_prompt) == ("a red apple", negative)
    expected = {**COMMON, "sampler": "euler", "model": "fine.safetensors", "width": 24, "height": 18}
    assert read.settings.items() >= expected.items()


def test_comfyui_negative_that_is_zeroed_out_is_no_prompt():
    graph = {**KSAMPLER, "7": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}}
    assert comfyui.texts(graph) == ("a red apple", "")


@pytest.mark.parametrize(
    "graph",
    [
        {"1": {"class_type": "KSampler", "inputs": {"positive": ["1", 0], "negative": ["1", 0]}}},
        {"1": {"class_type": "KSampler", "inputs": {"positive": ["9", 0], "negative": [[], 0]}}},
        {"1": {"class_type": "KSampler", "inputs": {"positive": None, "negative": 5, "seed": [1]}}},
        {"1": {"class_type": 5, "inputs": {}}},
    ],
)
def test_comfyui_graph_that_runs_in_circles_or_nowhere_ends(graph):
    parsed = comfyui.parse(json.dumps(graph))
    assert comfyui.texts(parsed) == ("", "")
    assert comfyui.settings(parsed) == {}


INVOKE = {
    "generation_mode": "txt2img",
    "positive_prompt": "a red apple",
    "negative_prompt": "blurry",
    "width": 24,
    "height": 18,
    "seed": 42,
    "cfg_scale": 7.5,
    "steps": 20,
    "scheduler": "euler",
    "model": {"key": "k", "name": "fine", "hash": "blake3:abc"},
}
INVOKE_OLD = {
    "model_weights": "fine",
    "model_hash": "abc",
    "image": {
        "prompt": [{"prompt": "a red apple [blurry]", "weight": 1}],
        "steps": 20,
        "cfg_scale": 7.5,
        "seed": 42,
        "sampler": "k_euler",
        "width": 24,
        "height": 18,
    },
}
DREAM = '"a "red" apple [blurry]" -s 20 -S 42 -W 24 -H 18 -C 7.5 -A k_euler'
SWARM = {
    "sui_image_params": {
        "prompt": "a red apple",
        "negativeprompt": "blurry",
        "model": "fine",
        "seed": 42,
        "steps": 20,
        "cfgscale": 7.5,
        "width": 24,
        "height": 18,
        "sampler": "euler",
        "swarm_version": "0.9.7",
        "used_wildcards": ["x"],
    }
}
FOOOCUS = {
    "prompt": "a red apple",
    "negative_prompt": "blurry",
    "styles": "[]",
    "performance": "Speed",
    "steps": 20,
    "resolution": "(24, 18)",
    "guidance_scale": 7.5,
    "base_model": "fine",
    "base_model_hash": "abc",
    "sampler": "euler",
    "scheduler": "karras",
    "seed": "42",
    "metadata_scheme": "fooocus",
}
EASY = {
    "prompt": "a red apple",
    "negative_prompt": "blurry",
    "seed": 42,
    "use_stable_diffusion_model": "fine",
    "sampler_name": "euler",
    "width": 24,
    "height": 18,
    "num_inference_steps": 20,
    "guidance_scale": 7.5,
}
NOVELAI = {"prompt": "a red apple", "uc": "blurry", "steps": 20, "height": 18, "width": 24, "scale": 7.5, "seed": 42}
DRAW_THINGS = {
    "c": "a red apple",
    "uc": "blurry",
    "model": "fine",
    "sampler": "Euler a",
    "scale": 7.5,
    "seed": 42,
    "size": "24x18",
    "steps": 20,
}
MFLUX = {
    "mflux_version": "0.18",
    "model": "fine",
    "seed": 42,
    "steps": 20,
    "guidance": 7.5,
    "width": 24,
    "height": 18,
    "prompt": "a red apple",
    "negative_prompt": "blurry",
}


@pytest.mark.parametrize(
    ("dialect", "data"),
    [
        ("invokeai", png(invokeai_metadata=json.dumps(INVOKE))),
        ("invokeai", png(Dream="x", **{"sd_-metadata": json.dumps(INVOKE_OLD)})),
        ("swarmui", png(parameters=json.dumps(SWARM, indent=2))),
        ("swarmui", with_comment("jpeg", b"UNICODE\0" + json.dumps(SWARM).encode("utf-16-le"))),
        ("swarmui", with_tags("jpeg", Model=json.dumps(SWARM))),
        ("fooocus", png(parameters=json.dumps(FOOOCUS), fooocus_scheme="fooocus")),
        ("fooocus", with_segment(samples()["jpeg"], 0xFE, json.dumps(FOOOCUS).encode())),
        ("easy diffusion", png(**{key: str(value) for key, value in EASY.items()})),
        ("easy diffusion", with_comment("jpeg", b"UNICODE\0" + json.dumps(EASY).encode("utf-16-be"))),
        ("novelai", png(Software="NovelAI", Description="a red apple", Comment=json.dumps(NOVELAI), Source="fine")),
        ("draw things", with_xmp("png", exif__UserComment=json.dumps(DRAW_THINGS))),
        ("swarmui", with_comment("avif", b"UNICODE\0" + json.dumps(SWARM).encode("utf-16-be"))),
        ("draw things", with_xmp("tiff", exif__UserComment=json.dumps(DRAW_THINGS))),
        ("mflux", with_comment("tiff", b"ASCII\0\0\0" + json.dumps(MFLUX).encode())),
        ("mflux", with_comment("png", b"ASCII\0\0\0" + json.dumps(MFLUX).encode())),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_peer_is_known_and_its_words_are_ours(dialect, data):
    read = found(data)
    assert read.dialect == dialect
    assert (read.prompt, read.negative_prompt) == ("a red apple", "blurry")
    expected = {**COMMON, "model": "fine", "width": 24, "height": 18}
    assert read.settings.items() >= expected.items()


def test_easy_diffusion_with_readable_keys_is_read():
    keys = {
        "Prompt": "a red apple",
        "Negative__Prompt": "blurry",
        "Seed": "42",
        "Guidance__Scale": "7.5",
        "Steps": "20",
    }
    read = found(png(**keys))
    assert (read.dialect, read.prompt, read.negative_prompt) == ("easy diffusion", "a red apple", "blurry")
    assert read.settings == COMMON


def test_invokeai_dream_line_is_read():
    read = found(png(Dream=DREAM))
    assert (read.prompt, read.negative_prompt) == ('a "red" apple', "blurry")
    assert read.settings == {**COMMON, "sampler": "k_euler", "width": 24, "height": 18}


def test_draw_things_in_a_real_packet_is_read():
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/"><exif:UserComment><rdf:Alt>'
        '<rdf:li xml:lang="x-default">{&quot;c&quot;:&quot;a red apple&quot;,&quot;seed&quot;:42}</rdf:li>'
        "</rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    read = found(container.replace(samples()["png"], Changes(xmp=packet.encode())))
    assert (read.dialect, read.prompt, read.settings) == ("draw things", "a red apple", {"seed": 42})


def test_our_recipe_comes_before_all_others():
    texts = {"imggen": APPLE.to_json(), "parameters": A1111, "prompt": json.dumps(KSAMPLER)}
    read = dialects.read(Clues(texts=texts))
    assert (read.dialect, read.recipe, read.prompt) == ("imggen", APPLE, "a red apple")
    assert read.infotext == A1111


def test_recipe_that_cannot_be_read_leaves_the_infotext_and_a_note():
    newer = APPLE.to_json().replace(f'"schema":{APPLE.schema}', '"schema":99')
    read = dialects.read(Clues(texts={"imggen": newer, "parameters": infotext.write(APPLE)}))
    assert (read.dialect, read.recipe, read.settings["seed"]) == ("imggen", None, 42)
    assert "schema 99" in read.notes[0]
    alone = dialects.read(Clues(texts={"imggen": newer}))
    assert (alone.dialect, alone.recipe, alone.prompt) == ("imggen", None, "")


def test_picture_without_any_of_it_says_nothing():
    assert dialects.read(Clues(texts={"Title": "x", "prompt": "just words", "parameters": "hello"})) is None


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity", "9" * 60])
def test_numbers_that_json_cannot_say_are_left_out(number):
    text = f'{{"mflux_version": "1", "prompt": "x", "guidance": {number}, "other": {number}}}'
    read = dialects.read(Clues(tags={"UserComment": text}))
    json.dumps(read.settings, allow_nan=False)
    assert "guidance" not in {key for key, value in read.settings.items() if isinstance(value, float)}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
PLACES = ("parameters", "imggen", "prompt", "invokeai_metadata", "sd-metadata", "Dream", "Comment", "Software")
KEYS = st.sampled_from(
    [
        "sui_image_params",
        "mflux_version",
        "base_model",
        "styles",
        "c",
        "uc",
        "image",
        "prompt",
        "model",
        "inputs",
        "class_type",
        "positive",
        "negative",
        "scale",
        "seed",
        "size",
        "resolution",
        "num_inference_steps",
    ]
)
documents = st.dictionaries(KEYS | st.text(max_size=3), anything, max_size=5).map(json.dumps) | st.text(max_size=30)


@settings(deadline=None)
@given(
    texts=st.dictionaries(st.sampled_from(PLACES), documents, max_size=4),
    tags=st.dictionaries(st.sampled_from(["UserComment", "Model", "Make"]), documents, max_size=2),
    comments=st.lists(documents, max_size=2).map(tuple),
)
def test_whatever_a_stranger_writes_reading_never_fails(texts, tags, comments):
    read = dialects.read(Clues(texts=texts, tags=tags, comments=comments))
    if read is not None:
        assert isinstance(read.prompt, str)
        json.dumps(read.settings, allow_nan=False)


@pytest.mark.parametrize("depth", [200_000])
def test_deep_json_is_no_way_to_crash(depth):
    deep = '{"a":' * depth + "1" + "}" * depth
    texts = dict.fromkeys(("parameters", "imggen", "prompt", "invokeai_metadata", "Comment"), deep)
    read = dialects.read(Clues(texts=texts, tags={"UserComment": deep}))
    assert read == replace(read, recipe=None, prompt="")


BOMBS = {
    "graph": {"prompt": '{"a":[' + "[]," * 5_500_000 + "1]}"},
    "comment": {"Comment": '{"base_model":[' + "{}," * 5_500_000 + "1]}"},
    "many": dict.fromkeys(("prompt", "parameters", "Comment", "sd-metadata"), '{"c":[' + "[]," * 1_370_000 + "1]}"),
    "settings": {"parameters": "a\nSteps: 1, Seed: 1," + "ab:1," * 3_300_000},
    "resources": {"parameters": "a\nSteps: 1, Civitai resources: [" + "[]," * 5_500_000 + "1], Seed: 1, Size: 1x1"},
}


@pytest.mark.parametrize("name", BOMBS)
def test_text_that_would_fill_the_memory_as_objects_is_passed_over(name):
    start = time.process_time()
    tracemalloc.start()
    try:
        dialects.read(Clues(texts=BOMBS[name]))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 150 << 20
    assert time.process_time() - start < 20


def test_longest_honest_texts_are_read_and_what_nobody_reads_takes_no_room():
    texts = {"workflow": "x" * (16 << 20), "parameters": "word " * 200_000 + "\n" + A1111.rpartition("\n")[2]}
    assert dialects.read(Clues(texts=texts)).settings["seed"] == 42
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"sampler_name": "a", "positive": "a", "image": "x" * 3_000_000}}
    }
    assert dialects.read(Clues(texts={"workflow": "x" * (8 << 20), "prompt": json.dumps(graph)})).prompt == "a"
