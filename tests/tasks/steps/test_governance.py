import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from recipes import APPLE
from textures import textured

from imggen.engine.pipeline import loader
from imggen.errors import CheckError, ImggenError, RequestError
from imggen.output import writer
from imggen.output.governance import audit
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import metadata
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import GenerateRequest, OutputPlan
from imggen.plan.upscaling.plans import UpscaleRequest
from imggen.store import lookup
from imggen.tasks import generate, upscale
from imggen.tasks.generate import Generated
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

LOG = '[audit]\nlog = "audit.jsonl"\n'


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def policy(text):
    Path("policy.toml").write_text(f"schema = 1\n{text}", encoding="utf-8")
    return "policy.toml"


def lines():
    return [json.loads(line) for line in Path("audit.jsonl").read_text().splitlines()]


def nothing_loads(*_args, **_options):
    raise AssertionError("a refused request loads nothing")


def refused(text, match, *, task="text-to-image", **asked):
    """Ask for what the policy refuses, and return the log's last line."""
    said = {"prompt": "a red apple", "output": "a.png", "seed": "7"}
    request = GenerateRequest(task=task, policy=policy(text + "\n" + LOG), **said | asked)
    with pytest.raises(CheckError, match=match):
        list(generate.generate(request, load=nothing_loads))
    assert not Path("a.png").exists()
    return lines()[-1]


@pytest.fixture
def draw(tiny_models):
    """Return a function that draws a small picture under a policy."""

    def draw(text, **asked) -> Generated:
        said = {"prompt": "a red apple", "steps": 2, "seed": "7", "dtype": "float32", "output": "a.png"}
        request = GenerateRequest(model=str(tiny_models("sd")), policy=policy(text), **said | asked)
        (made,) = generate.generate(request, load=loader.load)
        return made

    return draw


def test_denied_word_is_refused_by_rule_before_anything_is_loaded_and_logged_without_the_words():
    line = refused('[prompt]\ndeny = ["apple"]', r"policy.toml: prompt.deny\[0\]")
    assert (line["decision"], line["rule"], line["action"]) == ("deny", "prompt.deny[0]", "generate")
    assert line["prompt_sha256"] == hashlib.sha256(b"a red apple").hexdigest()
    assert "prompt" not in line


def test_log_has_the_prompt_where_the_policy_wants_it():
    Path("policy.toml").write_text(
        'schema = 1\n[prompt]\ndeny = ["apple"]\n[audit]\nlog = "audit.jsonl"\nprompt = "full"'
    )
    request = GenerateRequest(prompt="an apple", policy="policy.toml", output="a.png")
    with pytest.raises(CheckError):
        list(generate.generate(request, load=nothing_loads))
    assert lines()[-1]["prompt"] == "an apple"


@pytest.mark.parametrize(
    ("rules", "asked", "rule"),
    [
        ('[models]\nallow = ["stabilityai/*"]', {}, "models.allow"),
        ('[models]\ndeny = ["builtin"]', {}, "models.deny"),
        ('[models]\nallow = ["sha256:0123456789ab"]', {}, "models.allow"),
        ('[models]\nallow = ["license:mit"]', {}, "models.allow"),
        ('[marking]\nrequire = ["iptc"]', {"metadata": "none"}, "marking.require"),
        ('[marking]\nrequire = ["recipe"]', {"metadata": "minimal"}, "marking.require"),
        ('[marking]\nrequire = ["watermark"]', {"watermark": "off"}, "marking.require"),
        ('[marking]\nrequire = ["c2pa"]', {"sign": "off"}, "marking.require"),
        ('[marking]\nvisible_label = "AI"', {"label": "mine"}, "marking.visible_label"),
        ('[marking]\ntraining_mining = "not-allowed"', {"training_mining": "allowed"}, "marking.training_mining"),
        ('[prompt]\nrecord = "omit"', {"record_prompt": "full"}, "prompt.record"),
        ("[prompt]\nmax_length = 5", {}, "prompt.max_length"),
    ],
)
def test_what_the_policy_does_not_allow_is_refused_by_rule_before_anything_is_loaded(rules, asked, rule):
    assert refused(rules, rule.replace(".", r"\."), **asked)["rule"].startswith(rule)


def test_model_is_refused_by_name_before_it_is_looked_for():
    line = refused('[models]\nallow = ["builtin"]', "models.allow", model="somebody/nowhere")
    assert line["rule"] == "models.allow"


@pytest.mark.parametrize("rule", ["builtin", "license:Apache-2.0", "sha256:"])
def test_model_is_allowed_by_name_licence_or_hash(rule):
    if rule == "sha256:":
        facts = lookup.find("builtin")
        rule += lookup.weights_sha256(facts, "float32")
    request = GenerateRequest(prompt="an apple", dtype="float32", policy=policy(f'[models]\nallow = ["{rule}"]'))
    assert generate.plan(request).model.reference == "builtin"


def test_given_pictures_need_the_consent_that_the_policy_wants():
    textured((64, 64)).save("given.png")
    rules = "[inputs]\nrequire_consent = true"
    asked = {"task": "image-to-image", "images": ("given.png",)}
    assert refused(rules, "--i-have-rights|may use", **asked)["action"] == "img2img"
    request = GenerateRequest(prompt="an apple", policy=policy(rules), consent=True, **asked)
    assert generate.plan(request).task == "image-to-image"


def test_marks_of_given_pictures_are_kept_where_the_policy_says_so(draw, tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_KEYS", str(tmp_path / "keys"))
    keys.create(tmp_path / "keys", Draft(organisation="Example Ltd"), check=signing.prove)
    draw("", output="given.png")
    rules = "[inputs]\nkeep_provenance = true"
    asked = {"task": "image-to-image", "images": ("given.png",)}
    refused(rules, "iptc", metadata="none", **asked)
    assert "c2pa" in refused(rules, "c2pa", sign="off", **asked)["reason"]
    made = draw(rules, **asked, output="b.png")
    found = signing.read(Path("b.png").read_bytes(), "png", keys.roots(tmp_path / "keys"))
    assert found.state == "trusted"
    assert [(each.title, each.relationship, each.state) for each in found.ingredients] == [
        ("given.png", "parentOf", "trusted")
    ]
    assert made.written.marks == ("iptc", "infotext", "recipe", "c2pa")


def test_policy_decides_what_was_not_typed(draw, tmp_path):
    made = draw('[prompt]\nrecord = "hash"\n[marking]\nvisible_label = "AI"\ntraining_mining = "not-allowed"\n' + LOG)
    facts = metadata.read(Path("a.png"))
    assert facts.xmp[metadata.PROMPT] == f"sha256:{metadata.prompt_sha256(made.recipe)}"
    assert facts.xmp[metadata.LABEL] == "AI"
    assert facts.xmp[metadata.MINING].endswith("DMI-PROHIBITED-AIMLTRAINING")
    assert facts.found.recipe is None
    assert b"apple" not in Path("a.png").read_bytes()
    (line,) = lines()
    assert line["output"]["sha256"] == hashlib.sha256(Path("a.png").read_bytes()).hexdigest()
    assert (line["decision"], line["marks"]) == ("allow", list(made.written.marks))
    assert line["unmarked"].startswith("64x64")
    assert "prompt_sha256" in line
    assert audit.verify(Path("audit.jsonl")).first_bad is None


def test_picture_that_cannot_carry_what_is_required_is_not_left_on_disk(draw):
    rules = '[prompt]\nrecord = "hash"\n[marking]\nrequire = ["recipe"]\n' + LOG
    with pytest.raises(CheckError, match="lacks what the policy requires: recipe"):
        draw(rules)
    assert list(Path().glob("*.png")) == []
    assert lines()[-1]["rule"] == "marking.require"


def test_refused_picture_leaves_the_file_that_was_there(draw):
    draw("")
    before = Path("a.png").read_bytes()
    with pytest.raises(CheckError):
        draw('[prompt]\nrecord = "hash"\n[marking]\nrequire = ["recipe"]')
    assert Path("a.png").read_bytes() == before


def test_checker_that_says_no_keeps_the_picture_off_the_disk(draw, tmp_path):
    checker = tmp_path / "checker.py"
    checker.write_text("import sys; sys.stdin.buffer.read(); print('too red'); sys.exit(1)")
    rules = f'[safety]\nimage_checker = ["{sys.executable}", "{checker}"]\n' + LOG
    with pytest.raises(CheckError, match="too red"):
        draw(rules)
    assert not Path("a.png").exists()
    assert lines()[-1]["rule"] == "safety.image_checker"
    checker.write_text("import sys; from PIL import Image; Image.open(sys.stdin.buffer).load()")
    assert draw(rules).written.path.exists()


def test_variable_names_a_policy_that_no_option_replaces(monkeypatch):
    Path("mine.toml").write_text("schema = 1\n")
    policy('[prompt]\ndeny = ["apple"]')
    monkeypatch.setenv("IMGGEN_POLICY", "policy.toml")
    for named in (None, "./policy.toml"):
        with pytest.raises(CheckError, match=r"prompt\.deny"):
            list(generate.generate(GenerateRequest(prompt="an apple", policy=named), load=nothing_loads))
    with pytest.raises(CheckError, match=r"IMGGEN_POLICY says policy\.toml"):
        list(generate.generate(GenerateRequest(prompt="a pear", policy="mine.toml"), load=nothing_loads))


@pytest.mark.parametrize(
    ("text", "match"), [("schema = 1\n[promt]", "promt"), ("schema = 9", "schema 9"), ("not toml", "not valid TOML")]
)
def test_policy_that_cannot_be_read_stops_everything(text, match):
    Path("policy.toml").write_text(text)
    with pytest.raises(RequestError, match=match):
        list(generate.generate(GenerateRequest(prompt="an apple", policy="policy.toml"), load=nothing_loads))
    with pytest.raises(RequestError, match=r"no policy .*gone.toml"):
        list(generate.generate(GenerateRequest(prompt="an apple", policy="gone.toml"), load=nothing_loads))


def test_log_that_cannot_be_written_stops_everything_before_it_begins():
    Path("audit.jsonl").write_text("something else\n")
    with pytest.raises(RequestError, match=r"audit.jsonl"):
        list(generate.generate(GenerateRequest(prompt="an apple", policy=policy(LOG)), load=nothing_loads))
    assert Path("audit.jsonl").read_text() == "something else\n"


def test_enlarging_keeps_to_the_policy_too():
    textured((40, 30)).save("small.png")
    ask = UpscaleRequest(files=("small.png",), scale="2", model="lanczos", output="big.png")
    rules = policy("[inputs]\nrequire_consent = true\n" + LOG)
    with pytest.raises(CheckError, match="require_consent"):
        list(upscale.upscale(replace(ask, policy=rules)))
    assert not Path("big.png").exists()
    list(upscale.upscale(replace(ask, policy=rules, consent=True)))
    with Image.open("big.png") as made:
        assert made.size == (80, 60)
    assert [(line["action"], line["decision"]) for line in lines()] == [("upscale", "deny"), ("upscale", "allow")]
    assert lines()[-1]["inputs"][0]["sha256"] == hashlib.sha256(Path("small.png").read_bytes()).hexdigest()


def test_network_that_enlarges_is_held_against_the_rules_for_models():
    textured((40, 30)).save("small.png")
    ask = UpscaleRequest(files=("small.png",), policy=policy('[models]\nallow = ["license:mit"]'))
    with pytest.raises(CheckError, match=r"models\.allow"):
        list(upscale.upscale(ask, load=nothing_loads))


@pytest.mark.parametrize("variable", [False, True])
def test_empty_policy_is_no_way_to_have_none(monkeypatch, variable):
    if variable:
        monkeypatch.setenv("IMGGEN_POLICY", "")
    asked = GenerateRequest(prompt="an apple", policy=None if variable else "")
    with pytest.raises(RequestError, match="is empty, and names no policy"):
        list(generate.generate(asked, load=nothing_loads))


def test_required_signature_without_a_key_is_a_refusal_of_the_policy():
    line = refused('[marking]\nrequire = ["c2pa"]', r"marking\.require")
    assert "no key is set up" in line["reason"]


def test_label_of_the_policy_that_does_not_fit_is_a_refusal_of_the_policy():
    line = refused(f'[marking]\nvisible_label = "{"x" * 40}"', r"marking\.visible_label", width=64, height=64)
    assert "the picture has 64x64" in line["reason"]


def test_wish_about_training_is_not_lost_with_the_metadata():
    rules = '[marking]\ntraining_mining = "not-allowed"'
    assert refused(rules, "training", metadata="none")["rule"] == "marking.training_mining"


def test_name_of_the_file_does_not_tell_what_the_file_may_not(draw):
    rules = '[prompt]\nrecord = "omit"'
    assert refused(rules, "would show the prompt", output="{prompt}.png")["rule"] == "prompt.record"
    made = draw(rules, output=None)
    assert made.written.path.name == "picture-7.png"


def test_denied_name_is_refused_before_it_is_looked_for_whatever_else_is_denied():
    rules = '[models]\ndeny = ["evil/*", "license:mit"]'
    assert refused(rules, "models.deny|denies", model="evil/x")["rule"] == "models.deny[0]"


def test_no_picture_takes_the_place_of_the_log_or_the_policy():
    policy(LOG)
    for place in ("audit.jsonl", "policy.toml", "audit.jsonl.lock"):
        request = GenerateRequest(
            prompt="an apple", policy="policy.toml", output=place, format="png", if_exists="overwrite"
        )
        with pytest.raises(RequestError, match="no picture goes there"):
            list(generate.generate(request, load=nothing_loads))


def test_manifest_and_watermark_of_a_given_picture_are_kept_or_the_task_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGGEN_KEYS", str(tmp_path / "keys"))
    signer = keys.create(tmp_path / "keys", Draft(organisation="Example Ltd"), check=signing.prove)
    plan = OutputPlan(
        template="x", format="png", quality=100, if_exists="overwrite", metadata="none", marking=MarkingPlan(sign="on")
    )
    writer.write(textured(), APPLE, plan, Path("given.png"), by=WriteContext(identity=signer))
    rules = policy("[inputs]\nkeep_provenance = true\n" + LOG)
    ask = UpscaleRequest(files=("given.png",), scale="2", model="lanczos", output="big.png", policy=rules)
    for changes, lost in (
        ({"metadata": "none"}, "c2pa"),
        ({"sign": "off"}, "c2pa"),
        ({"watermark": "off"}, "watermark"),
    ):
        with pytest.raises(CheckError, match=lost):
            list(upscale.upscale(replace(ask, **changes)))
        assert not Path("big.png").exists()
    (made,) = upscale.upscale(ask)
    assert {"c2pa", "watermark"} <= set(made.written.marks)


def test_picture_that_cannot_be_logged_gives_back_what_was_there(draw, monkeypatch):
    draw("")
    before = Path("a.png").read_bytes()

    def full(*_args, **_options):
        raise ImggenError("the disk is full")

    monkeypatch.setattr(audit, "append", full)
    with pytest.raises(ImggenError, match="could not be logged"):
        draw(LOG, seed="8")
    assert Path("a.png").read_bytes() == before
    with pytest.raises(ImggenError, match="could not be logged"):
        draw(LOG, output="new.png")
    assert sorted(each.name for each in Path().glob("*.png")) == ["a.png"]
    assert not list(Path().glob(".imggen*"))


def test_prompt_that_is_not_recorded_cannot_be_guessed_by_the_names(draw):
    made = draw("", record_prompt="omit")
    guid = made.written.finished.guid
    assert guid != metadata.identity(made.recipe)
    assert draw("", record_prompt="omit", output="b.png").written.finished.guid == guid
