"""IP-Adapters as files: which one is meant, which image encoder goes with it, and what is refused."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters.ip_adapter_layouts import UNET
from imggen.plan.schema.adapter import AdapterRequest, ImageEncoder
from imggen.store import hub, ip_adapter_files
from imggen.store.weights import AccessRules

WIDTH, PROJECTED, HIDDEN = 8, 6, 10
OPTION = "--ip-adapter-weights"
TARGET = ip_adapter_files.AdapterTarget(layout=UNET, config={"cross_attention_dim": WIDTH})
PUBLISHED = replace(TARGET, layout=replace(UNET, encoder="org/clip"))
ENCODER = "org/clip config.json preprocessor_config.json model.safetensors"


def plain(*, projected=PROJECTED, width=WIDTH, dtype=np.float32):
    """Return the tensors of an adapter that looks at the encoder's result."""
    return {
        "image_proj.proj.weight": np.zeros((4 * width, projected), dtype),
        "ip_adapter.3.to_k_ip.weight": np.zeros((4, width), dtype),
        "ip_adapter.3.to_v_ip.weight": np.zeros((4, width), dtype),
    }


def plus(*, hidden=HIDDEN):
    """Return the tensors of an adapter that looks at the encoder's hidden states."""
    resampler = {
        "image_proj.latents": np.zeros((1, 4, 2), np.float32),
        "image_proj.proj_in.weight": np.zeros((2, hidden), np.float32),
    }
    return resampler | {name: tensor for name, tensor in plain().items() if name.startswith("ip_adapter")}


def save_encoder(folder, **config):
    folder.mkdir(parents=True)
    stated = {"model_type": "clip_vision_model", "projection_dim": PROJECTED, "hidden_size": HIDDEN} | config
    (folder / "config.json").write_text(json.dumps(stated))
    tensors = {
        "vision_model.a": np.zeros(3, np.float32),
        "vision_model.b": np.zeros(5, np.float16),
        "text_model.c": np.zeros(7, np.float32),
    }
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def lay_out(tmp_path):
    """Return a function that puts adapters and encoders where the names say, below a folder that it returns."""

    def lay(files, *, encoders=("image_encoder",)):
        root = tmp_path / "adapters"
        root.mkdir()
        for name, tensors in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, root / name)
        for name in encoders:
            save_encoder(root / name)
        return root

    return lay


def find(reference, target=TARGET, *, encoder=None, **terms):
    asked = AdapterRequest(kind="ip-adapter", option=OPTION, reference=str(reference), encoder=encoder)
    return ip_adapter_files.find(asked, target, terms=AccessRules(**terms))


def refused(reference, *args, **options):
    with pytest.raises(ModelError) as caught:
        find(reference, *args, **options)
    return caught.value


def test_facts_are_those_of_the_adapter_and_of_the_encoder_in_half_precision(lay_out):
    folder = lay_out({"one.safetensors": plain()})
    facts = find(folder)
    assert facts.files == (folder / "one.safetensors", folder / "image_encoder" / "model.safetensors")
    assert facts.sha256 == hashlib.sha256((folder / "one.safetensors").read_bytes()).hexdigest()
    assert (facts.reference, facts.revision, facts.encoder, facts.pickle) == (str(folder), None, None, False)
    # What the encoder has of texts is not read.
    assert facts.weight_bytes == 2 * (4 * WIDTH * PROJECTED + 2 * 4 * WIDTH) + 2 * (3 + 5)
    assert facts.stored_dtype == "float16"
    assert facts.shapes == {name: tensor.shape for name, tensor in plain().items()}
    assert facts.config["projection_dim"] == PROJECTED


@pytest.mark.parametrize(
    ("name", "encoder", "reference"),
    [
        ("one.safetensors", "image_encoder", "one.safetensors"),
        ("below/one.safetensors", "image_encoder", "below/one.safetensors"),
        ("models/a.safetensors", "models/image_encoder", "."),
        ("models/a.safetensors", "models/image_encoder", "models"),
        ("sdxl_models/a.safetensors", "sdxl_models/image_encoder", "."),
        ("sdxl_models/a.safetensors", "models/image_encoder", "."),
    ],
)
def test_adapter_and_encoder_are_found_where_they_usually_lie(lay_out, name, encoder, reference):
    folder = lay_out({name: plain()}, encoders=[encoder])
    files = find(folder / reference).files
    assert files[0].samefile(folder / name)
    assert files[1].samefile(folder / encoder / "model.safetensors")


def test_of_the_encoders_nearby_the_nearest_that_fits_is_taken(lay_out):
    places = ("sdxl_models/image_encoder", "image_encoder", "models/image_encoder")
    folder = lay_out({"sdxl_models/a.safetensors": plain()}, encoders=places)
    for place in places:
        assert find(folder).files[1] == folder / place / "model.safetensors"
        (folder / place / "config.json").write_text('{"projection_dim": 99}')
    error = refused(folder)
    assert f"wants an image encoder (clip) with projection_dim {PROJECTED}; " in error.message
    assert error.message.endswith("; ".join(f"{folder / place} has 99" for place in places))
    assert error.hint == "--ip-adapter-encoder FOLDER, of the encoder that the adapter was trained with"


def test_of_many_adapters_the_one_that_fits_is_taken(lay_out):
    files = {"a.safetensors": plain(projected=99), "b.safetensors": plain(), "c.safetensors": plain(width=16)}
    assert find(lay_out(files)).files[0].name == "b.safetensors"


@pytest.mark.parametrize(("names", "hinted"), [
    (("adapter-plus", "adapter"), "adapter"),
    (("aa", "b"), "b"),
    (("b", "a"), "a"),
])  # fmt: skip
def test_of_several_that_fit_none_is_guessed_and_the_shortest_name_is_hinted(lay_out, names, hinted):
    folder = lay_out({f"{name}.safetensors": plain() for name in names})
    with pytest.raises(RequestError) as caught:
        find(folder)
    listed = ", ".join(sorted(f"{name}.safetensors" for name in names))
    assert caught.value.message.endswith(f"has several adapters that fit: {listed}")
    assert caught.value.hint == f"{OPTION} {folder / hinted}.safetensors"


def test_one_that_does_not_fit_is_told_by_its_own_fault(lay_out):
    assert "is no IP-Adapter" in refused(lay_out({"one.safetensors": {"x": np.zeros(1)}})).message


def test_of_many_that_do_not_fit_four_are_told_with_their_faults(lay_out):
    folder = lay_out({f"{name}.safetensors": {"x": np.zeros(1)} for name in "abcde"})
    message = refused(folder).message
    assert message.startswith(f"none of the 5 adapters in {folder} fits: ")
    assert [f"/{name}.safetensors is no IP-Adapter" in message for name in "abcde"] == [True] * 4 + [False]


def test_a_place_without_an_adapter_is_named(tmp_path, lay_out):
    error = refused(tmp_path / "nowhere")
    assert error.message.endswith("nowhere: there is no such file or folder")
    folder = lay_out({})
    error = refused(folder)
    assert error.message.startswith(f"{OPTION} {folder} holds no IP-Adapter")
    assert error.hint == "a folder as h94/IP-Adapter has"


def test_a_file_that_holds_no_weights_is_no_pickle(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    error = refused(tmp_path / "x.json")
    assert error.message.endswith("x.json is no file of weights")
    assert error.hint == "a safetensors file with image_encoder/ beside it"


def test_a_file_that_is_cut_short_is_refused(lay_out):
    folder = lay_out({"one.safetensors": plain()})
    whole = (folder / "one.safetensors").read_bytes()
    (folder / "one.safetensors").write_bytes(whole[:-10])
    assert "cut short" in refused(folder).message


def test_pickles_are_refused_and_not_looked_at_beside_safetensors(lay_out):
    folder = lay_out({"one.safetensors": plain()})
    (folder / "ip-adapter.bin").write_bytes(b"pickle")
    assert find(folder).files[0].name == "one.safetensors"
    (folder / "one.safetensors").unlink()
    for reference in (folder, folder / "ip-adapter.bin"):
        error = refused(reference)
        assert "ip-adapter.bin is a pickle" in error.message
        assert error.hint.endswith("add --allow-pickle")


def test_an_encoder_that_is_a_pickle_is_refused_unless_it_is_allowed(lay_out):
    folder = lay_out({"one.safetensors": plain()})
    (folder / "image_encoder/model.safetensors").rename(folder / "image_encoder/pytorch_model.bin")
    assert "pytorch_model.bin is a pickle" in refused(folder).message
    facts = find(folder, allow_pickle=True)
    assert facts.pickle
    assert facts.files[1].name == "pytorch_model.bin"


def test_an_encoder_without_weights_is_refused(lay_out):
    folder = lay_out({"one.safetensors": plain()})
    (folder / "image_encoder/model.safetensors").unlink()
    error = refused(folder)
    assert error.message.endswith("image_encoder has no weights")
    assert error.hint == "fetch the image encoder again"


def test_an_encoder_that_brings_code_is_refused(lay_out):
    folder = lay_out({"one.safetensors": plain()}, encoders=())
    save_encoder(folder / "image_encoder", _attn_implementation="somebody/kernel")
    assert "brings code of its own" in refused(folder).message


def test_an_adapter_without_an_encoder_says_where_to_put_one(lay_out):
    folder = lay_out({"below/one.safetensors": plain()}, encoders=())
    error = refused(folder / "below/one.safetensors")
    beside, above = folder / "below/image_encoder", folder / "image_encoder"
    assert error.message.endswith(f"comes without its image encoder: no {beside} and no {above}")
    assert error.hint.startswith("--ip-adapter-encoder FOLDER, or put ")
    assert error.hint.endswith(str(beside))


@pytest.mark.parametrize(("tensors", "config", "fault"), [
    (plain(), {}, None),
    (plus(), {}, None),
    (plain(projected=7), {}, "with projection_dim 7; {} has 6"),
    (plus(hidden=11), {}, "with hidden_size 11; {} has 10"),
    (plain(), {"model_type": "clip"}, None),
    (plain(), {"model_type": None}, None),
    (plain(), {"model_type": "siglip"}, "with projection_dim 6; {} is one of siglip"),
    (plain(), {"projection_dim": 7, "vision_config": {"projection_dim": 6}}, None),
    (plain(), {"vision_config": {"projection_dim": 7}}, "with projection_dim 6; {} has 7"),
    (plain(), {"vision_config": "text"}, None),
])  # fmt: skip
def test_an_encoder_fits_by_its_kind_and_size(lay_out, tensors, config, fault):
    folder = lay_out({"one.safetensors": tensors}, encoders=())
    encoder = save_encoder(folder / "image_encoder", **config)
    if fault is None:
        assert find(folder).files[1].parent == encoder
    else:
        assert fault.format(encoder) in refused(folder).message


@pytest.mark.parametrize(("tensors", "setting", "usual"), [(plain, "projection_dim", 512), (plus, "hidden_size", 768)])
def test_a_size_that_a_config_does_not_state_is_the_usual_one(lay_out, tensors, setting, usual):
    edge = {"projection_dim": "projected", "hidden_size": "hidden"}[setting]
    folder = lay_out({"fits.safetensors": tensors(**{edge: usual}), "other.safetensors": tensors(**{edge: usual + 1})})
    (folder / "image_encoder/config.json").write_text('{"model_type": "clip"}')
    assert find(folder).files[0].name == "fits.safetensors"


def test_a_size_that_is_no_number_is_refused(lay_out):
    folder = lay_out({"one.safetensors": plain()})
    (folder / "image_encoder/config.json").write_text('{"projection_dim": "6"}')
    assert refused(folder).message.endswith("config.json has '6' as its projection_dim")


def test_the_encoder_that_is_asked_for_comes_before_the_one_beside_the_adapter(lay_out, tmp_path):
    folder = lay_out({"one.safetensors": plain()})
    other, welcomed = save_encoder(tmp_path / "other"), []
    facts = find(folder, PUBLISHED, encoder=str(other), allow=welcomed.append)
    digest = hashlib.sha256((other / "model.safetensors").read_bytes()).hexdigest()
    assert facts.files[1] == other / "model.safetensors"
    assert facts.encoder == ImageEncoder(reference=str(other), sha256=digest)
    assert welcomed == [str(other)]


@pytest.mark.parametrize("target", [TARGET, PUBLISHED])
def test_an_encoder_that_is_asked_for_must_be_there_and_fit(lay_out, tmp_path, target):
    folder = lay_out({"one.safetensors": plain()})
    usual = target.layout.encoder
    for name in (str(tmp_path / "nowhere"), "org/clip/model.safetensors"):
        error = refused(folder, target, encoder=name)
        assert error.message == f"--ip-adapter-encoder {name}: there is no such folder"
        assert error.hint == f"--ip-adapter-encoder {usual or 'a folder with config.json and model.safetensors'}"
    other = save_encoder(tmp_path / "other", projection_dim=99)
    error = refused(folder, target, encoder=str(other))
    assert error.message.endswith(f"wants an image encoder (clip) with projection_dim 6; {other} has 99")
    another = usual or "FOLDER, of the encoder that the adapter was trained with"
    assert error.hint == f"--ip-adapter-encoder {another}"
    (other / "config.json").unlink()
    error = refused(folder, target, encoder=str(other))
    assert error.message == f"{other} holds no image encoder: it has no config.json"
    assert error.hint == f"--ip-adapter-encoder {another}"


def test_one_beside_the_adapter_comes_before_the_published_one(lay_out):
    folder = lay_out({"one.safetensors": plain()})
    assert find(folder, PUBLISHED).encoder is None


@pytest.mark.parametrize(("encoder", "more"), [(None, ""), ("org/clip", ""), ("org/clip@v1", " --revision v1")])
def test_a_published_encoder_that_is_not_here_is_told_offline(lay_out, monkeypatch, encoder, more):
    monkeypatch.setattr(hub, "cached", lambda *_: None)
    folder, welcomed = lay_out({"one.safetensors": plain()}, encoders=()), []
    error = refused(folder, PUBLISHED, encoder=encoder, offline=True, allow=welcomed.append)
    assert error.message.endswith("looks through org/clip, which is not on this machine, and imggen is offline")
    assert error.hint == f"while online: hf download {ENCODER}{more}"
    assert welcomed == [encoder or "org/clip"]


class Hub:
    """A repository of the hub in a folder, from which files are fetched one choice at a time."""

    def __init__(self, monkeypatch, root, commit):
        self.root, self.snapshot, self.fetched = root, commit, []
        monkeypatch.setattr(hub, "cached", lambda repository, revision: commit if commit.exists() else None)
        monkeypatch.setattr(hub, "obtain", self.fetch)
        monkeypatch.delenv("HF_HUB_OFFLINE")

    def fetch(self, repository, revision, *, choose, sketch_in, on_event):
        names = [path.relative_to(self.root).as_posix() for path in sorted(self.root.rglob("*")) if path.is_file()]
        chosen = choose(names)
        self.fetched.append(chosen)
        for name in chosen:
            (self.snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / name, self.snapshot / name)
        return self.snapshot


def test_of_a_repository_the_adapter_and_the_encoder_that_it_wants_are_fetched(tmp_path, monkeypatch):
    root, commit = tmp_path / "hub", tmp_path / "snapshots" / "abc"
    save_encoder(root / "models" / "image_encoder")
    save_encoder(root / "sdxl_models" / "image_encoder", projection_dim=99)
    save_file(plain(), root / "sdxl_models" / "one.safetensors")
    served, reference = Hub(monkeypatch, root, commit), "h94/IP-Adapter@main/sdxl_models/one.safetensors"
    error = refused(reference, offline=True)
    assert error.message == f"{OPTION} {reference}: it is not on this machine, and imggen is offline"
    files = "h94/IP-Adapter sdxl_models/one.safetensors --revision main"
    assert error.hint == f"while online: hf download {files}, and its image encoder"
    assert (
        refused(reference, PUBLISHED, offline=True).hint
        == f"while online: hf download {files} && hf download {ENCODER}"
    )
    facts = find(reference)
    assert facts.files == (commit / "sdxl_models/one.safetensors", commit / "models/image_encoder/model.safetensors")
    assert (facts.reference, facts.revision) == ("h94/IP-Adapter/sdxl_models/one.safetensors", "abc")
    assert "sdxl_models/image_encoder/model.safetensors" not in [name for names in served.fetched for name in names]
    again = find(reference, offline=True)
    assert (again, len(served.fetched)) == (facts, 2)
    (commit / "models/image_encoder/model.safetensors").unlink()
    assert "image_encoder has no weights" in refused(reference, offline=True).message
    assert find(reference) == facts


def test_of_a_repository_without_an_encoder_the_published_one_is_left_to_its_own(tmp_path, monkeypatch):
    root, commit = tmp_path / "hub", tmp_path / "snapshots" / "abc"
    root.mkdir()
    save_file(plain(), root / "one.safetensors")
    served = Hub(monkeypatch, root, commit)
    other = save_encoder(tmp_path / "other")
    facts = find("org/adapters/one.safetensors", PUBLISHED, encoder=str(other))
    assert served.fetched == [["one.safetensors"]]
    assert facts.encoder.reference == str(other)


def test_a_repository_alone_is_read_where_it_is_here_and_needs_a_file_where_it_is_not(tmp_path, monkeypatch):
    commit = tmp_path / "snapshots" / "abc"
    served = Hub(monkeypatch, tmp_path / "hub", commit)
    error = refused("org/adapters")
    assert error.message == f"{OPTION} org/adapters names no file of the repository"
    assert error.hint == f"{OPTION} org/adapters/ip-adapter.safetensors"
    save_encoder(commit / "image_encoder")
    assert "holds no IP-Adapter" in refused("org/adapters").message
    save_file(plain(), commit / "one.safetensors")
    assert find("org/adapters").reference == "org/adapters"
    assert not served.fetched


def test_a_file_that_a_repository_lacks_is_told_with_four_that_it_has(tmp_path, monkeypatch):
    root = tmp_path / "hub"
    root.mkdir()
    Hub(monkeypatch, root, tmp_path / "snapshots" / "abc")
    error = refused("org/adapters/one.safetensors")
    assert (error.message, error.hint) == ("the repository has no one.safetensors", None)
    for name in ("a.safetensors", "b.bin", "c.safetensors", "d.safetensors", "e.safetensors", "f.safetensors"):
        (root / name).touch()
    hint = "it has a.safetensors, c.safetensors, d.safetensors, e.safetensors"
    assert refused("org/adapters/one.safetensors").hint == hint


def test_of_an_encoder_of_the_hub_the_config_comes_first_and_then_what_is_read(lay_out, tmp_path, monkeypatch):
    folder, root = lay_out({"one.safetensors": plain()}, encoders=()), save_encoder(tmp_path / "hub")
    (root / "below").mkdir()
    for name in ("tokenizer.json", "preprocessor_config.json", "readme.md", "pytorch_model.bin", "below/config.json"):
        (root / name).write_text("{}")
    commit = tmp_path / "snapshots" / "abc"
    served = Hub(monkeypatch, root, commit)
    facts = find(folder, PUBLISHED)
    assert served.fetched == [["config.json"], ["config.json", "model.safetensors", "preprocessor_config.json"]]
    assert (facts.encoder.reference, facts.encoder.revision) == ("org/clip", "abc")
    assert facts.files[1] == commit / "model.safetensors"
    assert find(folder, PUBLISHED, offline=True) == facts
    assert len(served.fetched) == 2
    (commit / "model.safetensors").rename(commit / "pytorch_model.bin")
    assert "which is not on this machine" in refused(folder, PUBLISHED, offline=True).message
    assert find(folder, PUBLISHED, offline=True, allow_pickle=True).pickle


def test_an_encoder_of_the_hub_that_does_not_fit_is_refused_before_its_weights_come(lay_out, tmp_path, monkeypatch):
    folder = lay_out({"one.safetensors": plain()}, encoders=())
    served = Hub(monkeypatch, save_encoder(tmp_path / "hub", projection_dim=99), tmp_path / "snapshots" / "abc")
    assert refused(folder, PUBLISHED).message.endswith("abc has 99")
    assert served.fetched == [["config.json"]]
