import hashlib
import json
import time
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.policy import policy as policies
from imggen.plan.policy import safe_regex
from imggen.plan.policy.policy import ModelIdentity, Policy
from imggen.plan.settings import preset

EXAMPLE = Path("presets/policy/example.toml")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HASH = hashlib.sha256(b"weights").hexdigest()


def parse(text) -> Policy:
    return policies.parse(f"schema = 1\n{text}", subject="the policy p.toml")


def rules(*deny, allow=()):
    # A list of texts in JSON is one in TOML, but for escaped pairs.
    return parse(
        f"[prompt]\ndeny = {json.dumps(deny, ensure_ascii=False)}\nallow = {json.dumps(allow, ensure_ascii=False)}"
    )


def refuses(policy, prompt, negative=""):
    found = policies.check_prompt(policy, prompt, negative)
    return found.rule if found else None


def test_a_policy_that_says_nothing_refuses_nothing():
    policy = parse("")
    assert policies.check_prompt(policy, "anything", "at all") is None
    assert policies.check_model(policy, ModelIdentity(reference="x/y", pickles=True)) is None
    assert policies.check_inputs(policy, given=True, consent=False) is None
    assert policies.check_request(policy, metadata="none", watermark="off", sign="off", label="x") is None
    assert policies.check_marks(policy, ()) is None
    assert policies.check_strip(policy, ("iptc", "c2pa")) is None
    assert policies.check_user(policy, {}) is None
    assert not policies.needs_hash(policy)


@pytest.mark.parametrize(
    ("text", "named", "hint"),
    [
        ("promt = 1", "unknown key 'promt'", "'prompt'|prompt"),
        ("[prompt]\ndenny = []", "the policy p.toml's prompt has an unknown key 'denny'", "deny"),
        ("[prompt]\ndeny = 'apple'", "prompt.deny is 'apple', not a list", None),
        ("[prompt]\ndeny = [1]", r"prompt.deny\[0\] is 1, not text", None),
        ("[prompt]\ndeny = ['a', 're:a*']", r"prompt.deny\[1\]: .* every text", "letter"),
        ("[prompt]\ndeny = ['a', 're:(a']", r"prompt.deny\[1\]: .* not a valid one", None),
        ("[prompt]\ndeny = ['...']", r"prompt.deny\[0\]: the term '...' has no word", "re:"),
        ("[prompt]\nallow = ['re:Straße']", r"prompt.allow\[0\]: .* 'ß'", "ss"),
        ("[prompt]\nallow = ['re:a\tb']", r"prompt.allow\[0\]: ", "space"),
        ("[prompt]\nmax_length = 0", "prompt.max_length is 0; the least is 1", None),
        ("[prompt]\nmax_length = 20001", "the most is 20000", None),
        ("[prompt]\nrecord = 'none'", "prompt.record is 'none'", None),
        ("[models]\nallow = ['org/name@main']", r"models.allow\[0\] is 'org/name@main': a branch", "commit"),
        ("[models]\nallow = ['sha256:12']", r"models.allow\[0\] .* 12 to 64", "sha256:"),
        ("[models]\ndeny = ['licence:mit']", r"models.deny\[0\] .* not the name of a model", "license:"),
        ("[models]\ndeny = ['license:']", r"models.deny\[0\] .* nothing stands after", "license:"),
        ("[models]\nrequire_safetensors = 1", "require_safetensors is 1, not true or false", None),
        ("[marking]\nrequire = ['exif']", r"marking.require\[0\] is 'exif'", None),
        ("[marking]\nvisible_label = ''", "visible_label is '', not text of 1 to 40", None),
        ("[marking]\ntraining_mining = 'no'", "training_mining is 'no'", None),
        ("[safety]\nimage_checker = 'prog -x'", "image_checker is 'prog -x', not a list", None),
        ("[safety]\nimage_checker = ['']", "image_checker names no program", None),
        ("[audit]\nuser = 'a'\nuser_variable = 'B'", "both user and user_variable", "leave one"),
        ("[audit]\nuser_variable = '$B'", "the name of an environment variable", None),
        ("[audit]\nlog = ' '", "audit.log is empty", None),
        ("[prompt", "not valid TOML", None),
        ("name = 2020-01-01", "name is datetime.date", None),
    ],
)
def test_what_is_wrong_is_named_by_its_place(text, named, hint):
    with pytest.raises(RequestError, match=named) as caught:
        parse(text)
    assert hint is None or any(each in (caught.value.hint or "") for each in hint.split("|"))


def test_the_schema_number_comes_first():
    with pytest.raises(RequestError, match="no schema number"):
        policies.parse("[prompt]\n", subject="the policy")
    with pytest.raises(RequestError, match="schema 2; this imggen reads up to 1") as caught:
        policies.parse("schema = 2\nnew = 1", subject="the policy")
    assert "upgrade" in caught.value.hint
    with pytest.raises(RequestError, match="schema is True, not a whole number"):
        policies.parse("schema = true", subject="the policy")


@given(st.text())
def test_any_text_is_a_policy_or_a_request_error(text):
    with suppress(RequestError):
        assert policies.parse(text, subject="it").schema == 1


def test_too_long_a_policy_is_not_read():
    with pytest.raises(RequestError, match="it is larger than 1 MiB"):
        policies.parse("#" * (1 << 20) + "\n", subject="it")


def test_the_hash_is_that_of_the_file():
    assert (
        policies.sha256("schema = 1\r\nname = 'é'") == hashlib.sha256("schema = 1\r\nname = 'é'".encode()).hexdigest()
    )


def test_the_example_is_a_policy_and_no_preset():
    policy = policies.parse(EXAMPLE.read_text(encoding="utf-8"), subject=str(EXAMPLE))
    assert policy.schema == 1
    assert "example" not in preset.names([preset.shipped()])


def test_the_docs_tell_every_key():
    told = Path("docs/policy.md").read_text(encoding="utf-8")
    for each in fields(Policy):
        table = each.default_factory if each.default_factory is not MISSING else None
        assert (f"**`[{each.name}]`**" if table else f"| `{each.name}` |") in told
        assert all(f"| `{key.name}` |" in told for key in (fields(table) if table else ()))


def test_what_the_example_has_in_comments_is_right_too():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    said = [line.removeprefix("#: ") for line in lines]
    policy = policies.parse("\n".join(said), subject="the example")
    assert len([line for line in lines if line.startswith("#: ")]) >= 5
    assert policy.safety.image_checker
    assert policy.models.allow


# -- prompts


@pytest.mark.parametrize(
    "prompt",
    [
        "a red apple",
        "APPLE",
        "an apple's core",
        "ａｐｐｌｅ",
        "𝕒𝕡𝕡𝕝𝕖",
        "ápplé",
        "a̶p̶p̶l̶e̶",
        "ap\u200bple",
        "ap\u00adple",
        "ap\ufe0fple",
        "(apple:1.3)",
        "((apple))",
        "[apple]",
        "{apple}",
        "apple++",
        "<apple>",
        "red_apple_tree",
        "red,apple,tree",
        "ap-ple",
        "ap.ple",
        "a.p.p.l.e",
        "a p p l e",
        "A-P-P-L-E",
        "ap/ple",
        '"apple"',
        "“apple”",
        "one\napple\r\ntwo",
        "one\u2028apple",
        "one\tapple",
        "red 🍎apple",
    ],
)
def test_a_denied_word_is_found_however_it_is_dressed(prompt):
    assert refuses(rules("apple"), prompt) == "prompt.deny[0]"


@pytest.mark.parametrize(
    "prompt", ["pineapple", "apples", "app", "an app le", "appl e", "аpple", "@pple", "appel", "app1e", ""]
)
def test_what_is_not_caught_is_what_the_docs_say(prompt):
    assert refuses(rules("apple"), prompt) is None


@pytest.mark.parametrize("prompt", ["a Red  Apple", "red, apple", "red (apple:1.2)", "(red:1.1) apple", "red\napple"])
def test_a_phrase_is_found_across_spaces_punctuation_and_weights(prompt):
    assert refuses(rules("red apple"), prompt) == "prompt.deny[0]"
    assert refuses(rules("apple red"), prompt) is None


def test_terms_are_folded_as_prompts_are():
    assert refuses(rules("ＡPPLE\u200b"), "apple")
    assert refuses(rules("STRASSE"), "Straße")
    assert refuses(rules("ice-cream"), "ice cream")
    assert refuses(rules("don't"), "don’t")
    assert refuses(rules("🍎"), "a 🍎!")
    assert refuses(rules("苹果"), "一个红苹果树")


def test_a_term_with_marks_is_found_with_its_marks_only():
    assert refuses(rules("pâté"), "un PÂTÉ")
    assert refuses(rules("pâté"), "a pate") is None
    assert refuses(rules("мои"), "мой") is None


def test_the_rule_is_named_with_what_was_found():
    found = policies.check_prompt(rules("pear", r"re:\bapp.{0,3}\b"), "An APPLE")
    assert (found.rule, found.message) == ("prompt.deny[1]", "the prompt holds 'apple', which the policy denies")


def test_a_pattern_sees_the_punctuation_and_not_the_weights_alone():
    assert refuses(rules(r"re:red \(apple\)"), "red (apple:1.2)")
    assert refuses(rules(r"re::1\.2"), "red (apple:1.2)")
    assert refuses(rules("re:ÉCLAIR"), "an éclair")
    assert refuses(rules("re:da"), "red,apple") is None


def test_what_lies_inside_an_allowed_match_does_not_count():
    policy = rules("apple", allow=("apple pie", "re:green app.{0,3}"))
    assert refuses(policy, "an apple pie") is None
    assert refuses(policy, "a green apple") is None
    assert refuses(policy, "an apple pie and an apple") == "prompt.deny[0]"
    assert refuses(policy, "(apple:1.2) pie") is None
    assert refuses(rules("pate", allow=("pâté",)), "un pâté") is None
    assert refuses(rules("pate", allow=("pâté",)), "pâté or pate") == "prompt.deny[0]"
    assert refuses(rules("パン", allow=("パンダ",)), "パンダ") is None
    assert refuses(rules("apple pie", allow=("apple",)), "an apple pie") == "prompt.deny[0]"


@pytest.mark.parametrize(
    ("deny", "allow", "rule"), [(("pear", "re:(a+)+b"), (), "deny[1]"), (("a",), ("re:(a+)+b",), "allow[0]")]
)
def test_a_pattern_that_takes_too_long_refuses_the_prompt(monkeypatch, deny, allow, rule):
    monkeypatch.setattr(safe_regex, "SECONDS", 0.2)
    refusal = policies.check_prompt(rules(*deny, allow=allow), "a" * 5_000)
    assert refusal.rule == f"prompt.{rule}"
    assert "'(a+)+b' takes more than 0.2 s" in refusal.message
    assert policies.check_prompt(rules(*deny, allow=allow), "plum") is None


@given(st.text(), st.lists(st.sampled_from(["apple", "(apple:1.2)", "pear", "red", "a-b", "é"])), st.text())
def test_a_denied_word_between_spaces_is_always_found(before, words, after):
    prompt = " ".join((before, *words, "apple", after))
    assert refuses(rules("apple"), prompt) == "prompt.deny[0]"


def test_a_number_is_found_where_it_looks_like_a_weight():
    assert refuses(rules("1945"), "(berlin:1945)") == "prompt.deny[0]"


def test_the_negative_prompt_is_not_searched_but_measured():
    policy = parse("[prompt]\ndeny = ['apple']\nmax_length = 10")
    assert refuses(policy, "pear", "apple") is None
    assert refuses(policy, "p" * 11) == "prompt.max_length"
    assert refuses(policy, "pear", "p" * 11) == "prompt.max_length"
    assert refuses(policy, "p" * 10, "p" * 10) is None


def test_a_prompt_that_grows_when_folded_is_refused():
    assert refuses(rules("apple"), "\ufdfa" * 5_000) == "prompt.max_length"


@pytest.mark.parametrize("prompt", ["a " * 10_000, "a b " * 5_000, "b" * 20_000, "a-" * 10_000])
def test_many_rules_over_the_longest_prompt_take_seconds(prompt):
    policy = rules(*(f"word{number}" for number in range(1_000)), "a", "b c", allow=("a", "b", "re:b"))
    began = time.process_time()
    policies.check_prompt(policy, prompt)
    assert time.process_time() - began < 10


# -- models


def allowed(entry, **facts):
    model = ModelIdentity(**{"reference": "Org/Name", "revision": COMMIT, "sha256": HASH, "license": "MIT"} | facts)
    denied = policies.check_model(parse(f"[models]\ndeny = ['{entry}']"), model)
    refused = policies.check_model(parse(f"[models]\nallow = ['{entry}']"), model)
    assert (denied is None) == (refused is not None), "deny and allow read a rule alike"
    return refused is None


@pytest.mark.parametrize(
    "entry",
    [
        *("Org/Name", "org/*", "*", f"org/name@{COMMIT}", "org/name@0123456", "org/*@0123456"),
        *(f"sha256:{HASH}", f"sha256:{HASH[:12]}", "license:mit"),
    ],
)
def test_a_model_is_known_by_name_revision_hash_and_licence(entry):
    assert allowed(entry)


@pytest.mark.parametrize(
    "entry",
    ["org/other", "other/*", "org/name@fedcba9", "sha256:000000000000", "license:apache-2.0", "folder:*", "org"],
)
def test_another_model_is_another(entry):
    assert not allowed(entry)


def test_a_folder_is_not_known_by_its_name():
    assert not allowed("org/name", folder="/home/me/org/name")
    assert not allowed("*", folder="/home/me/org/name")
    assert allowed("folder:/srv/models/*", folder="/srv/models/a/b")
    assert not allowed("folder:/srv/models/*", folder="/srv/others/a")
    assert allowed(f"sha256:{HASH[:20]}", folder="/tmp/x")


def test_what_is_not_known_is_not_allowed():
    assert not allowed("license:mit", license=None)
    assert not allowed("org/name@0123456", revision=None)
    policy = parse("[models]\nallow = ['*']\ndeny = ['sha256:000000000000']")
    assert policies.needs_hash(policy)
    refused = policies.check_model(policy, ModelIdentity(reference="a/b"))
    assert refused.rule == "models.deny[0]"
    assert "not known" in refused.message
    assert policies.check_model(policy, ModelIdentity(reference="a/b", sha256=HASH)) is None
    assert not policies.needs_hash(parse("[models]\nallow = ['builtin']"))


def test_a_refused_model_is_told_what_is_allowed():
    policy = parse("[models]\nallow = ['builtin', 'a/*', 'b/*', 'c/*', 'd/*', 'e/*']")
    refused = policies.check_model(policy, ModelIdentity(reference="x/y", revision="abc"))
    assert (refused.rule, refused.message) == ("models.allow", "the policy does not allow x/y@abc")
    assert refused.hint == "allowed: builtin, a/*, b/*, c/*, d/* and 1 more"
    assert policies.check_model(policy, ModelIdentity(reference="builtin")) is None


def test_pickles_are_refused_where_safetensors_are_required():
    policy = parse("[models]\nrequire_safetensors = true")
    assert (
        policies.check_model(policy, ModelIdentity(reference="x/y", pickles=True)).rule == "models.require_safetensors"
    )
    assert policies.check_model(policy, ModelIdentity(reference="x/y")) is None


# -- pictures


def test_given_pictures_need_consent():
    policy = parse("[inputs]\nrequire_consent = true")
    assert policies.check_inputs(policy, given=True, consent=False).hint.startswith("--i-have-rights")
    assert policies.check_inputs(policy, given=True, consent=True) is None
    assert policies.check_inputs(policy, given=False, consent=False) is None


@pytest.mark.parametrize(
    ("layer", "options", "option"),
    [
        ("recipe", {"metadata": "minimal"}, "--metadata minimal"),
        ("infotext", {"metadata": "minimal"}, "--metadata minimal"),
        ("iptc", {"metadata": "none"}, "--metadata none"),
        ("watermark", {"watermark": "off"}, "--watermark off"),
        ("c2pa", {"sign": "off"}, "--sign off"),
    ],
)
def test_an_option_that_drops_a_required_layer_is_refused_before_drawing(layer, options, option):
    policy = parse(f"[marking]\nrequire = ['{layer}']")
    refused = policies.check_request(policy, **options)
    assert (refused.rule, refused.hint) == ("marking.require", f"leave {option} out")
    assert policies.check_request(policy) is None
    assert policies.check_request(parse("[marking]\nrequire = []"), **options) is None


def test_minimal_metadata_keeps_the_mark():
    assert policies.check_request(parse("[marking]\nrequire = ['iptc']"), metadata="minimal") is None


def test_another_label_than_the_policys_is_refused():
    policy = parse("[marking]\nvisible_label = 'AI'")
    assert policies.check_request(policy, label="Art").rule == "marking.visible_label"
    assert policies.check_request(policy, label="AI") is None
    assert policies.check_request(policy) is None


def test_missing_layers_are_named():
    policy = parse("[marking]\nrequire = ['iptc', 'watermark', 'c2pa']")
    refused = policies.check_marks(policy, ["iptc", "recipe"])
    assert "watermark, c2pa" in refused.message
    assert policies.check_marks(policy, {"iptc", "watermark", "c2pa"}) is None


def test_what_may_not_be_stripped_is_named():
    required = parse("[marking]\nrequire = ['recipe']")
    assert policies.check_strip(required, ["recipe", "iptc"]).rule == "marking.require"
    assert policies.check_strip(required, ["iptc"]) is None
    kept = parse("[inputs]\nkeep_provenance = true")
    assert policies.check_strip(kept, ["infotext", "c2pa"]).rule == "inputs.keep_provenance"
    assert policies.check_strip(kept, ["infotext", "recipe"]) is None


# -- the log


def test_who_asks_comes_from_the_policy_or_the_environment():
    assert policies.user(parse("[audit]\nuser = 'studio'"), {}) == "studio"
    policy = parse("[audit]\nuser_variable = 'JOB'")
    assert policies.user(policy, {"JOB": "7"}) == "7"
    assert policies.check_user(policy, {"JOB": "7"}) is None
    assert policies.check_user(policy, {}).rule == "audit.user_variable"
    assert policies.user(parse(""), {"JOB": "7"}) is None


@pytest.mark.parametrize(
    ("file", "log", "logged"),
    [("full", "full", "full"), ("full", "hash", "hash"), ("hash", "full", "hash"), ("omit", "full", "omit")],
)
def test_the_log_never_tells_more_than_the_file(file, log, logged):
    policy = parse(f"[prompt]\nrecord = '{file}'\n[audit]\nprompt = '{log}'")
    assert policies.logged(policy) == logged
    assert policies.logged(parse("")) == "hash"


# -- what refusals and errors say


def said(refusal):
    return refusal and (refusal.rule, refusal.message, refusal.hint)


LONG = "\ufdfa" * 2_222
CONSENT = "the policy requires you to confirm that you may use the given pictures"
STRIPPED = "--strip prompt takes the words alone"


@pytest.mark.parametrize(
    ("text", "ask", "refusal"),
    [
        (
            "prompt.max_length = 1000",
            lambda policy: policies.check_prompt(policy, "p" * 1_001),
            (
                "prompt.max_length",
                "the prompt has 1,001 characters; the policy takes at most 1,000",
                "shorten the prompt",
            ),
        ),
        (
            "prompt.max_length = 1000",
            lambda policy: policies.check_prompt(policy, "p", "p" * 1_001),
            (
                "prompt.max_length",
                "the negative prompt has 1,001 characters; the policy takes at most 1,000",
                "shorten the negative prompt",
            ),
        ),
        ("", lambda policy: policies.check_prompt(policy, LONG + "pear"), None),
        (
            "",
            lambda policy: policies.check_prompt(policy, LONG + "pears"),
            (
                "prompt.max_length",
                "the prompt is longer than 40,000 characters in plain letters",
                "shorten the prompt",
            ),
        ),
        (
            'prompt.deny = ["re:a{1,90}"]',
            lambda policy: policies.check_prompt(policy, "a" * 60),
            ("prompt.deny[0]", f"the prompt holds '{'a' * 60}', which the policy denies", None),
        ),
        (
            'prompt.deny = ["re:a{1,90}"]',
            lambda policy: policies.check_prompt(policy, "a" * 61),
            ("prompt.deny[0]", f"the prompt holds '{'a' * 57}...', which the policy denies", None),
        ),
        (
            "models.require_safetensors = true",
            lambda policy: policies.check_model(policy, ModelIdentity(reference="x/y", pickles=True)),
            (
                "models.require_safetensors",
                "x/y has weights that can run code when they are read",
                "take a model with safetensors weights",
            ),
        ),
        (
            'models.deny = ["a/*", "x/*"]',
            lambda policy: policies.check_model(policy, ModelIdentity(reference="x/y", revision="abc")),
            ("models.deny[1]", "the policy denies x/y@abc (x/*)", None),
        ),
        (
            f'models.deny = ["sha256:{HASH}"]',
            lambda policy: policies.check_model(policy, ModelIdentity(reference="x/y")),
            ("models.deny[0]", "the policy denies x/y (its hash is not known)", None),
        ),
        (
            'models.allow = ["a", "b", "c", "d", "e"]',
            lambda policy: policies.check_model(policy, ModelIdentity(reference="x/y")),
            ("models.allow", "the policy does not allow x/y", "allowed: a, b, c, d, e"),
        ),
        (
            "inputs.require_consent = true",
            lambda policy: policies.check_inputs(policy, given=True, consent=False),
            ("inputs.require_consent", CONSENT, "--i-have-rights, if that is so"),
        ),
        (
            'marking.require = ["infotext", "iptc"]',
            lambda policy: policies.check_request(policy, metadata="minimal"),
            (
                "marking.require",
                "--metadata minimal leaves out the layer 'infotext', which the policy requires",
                "leave --metadata minimal out",
            ),
        ),
        *(
            (
                f'marking.require = ["{layer}"]',
                lambda policy: policies.check_request(policy, metadata="none"),
                (
                    "marking.require",
                    f"--metadata none leaves out the layer '{layer}', which the policy requires",
                    "leave --metadata none out",
                ),
            )
            for layer in ("recipe", "infotext", "iptc")
        ),
        (
            'marking.require = ["c2pa", "watermark"]',
            lambda policy: policies.check_request(policy, metadata="none", watermark="on", sign="on"),
            None,
        ),
        (
            "marking.visible_label = 'AI'",
            lambda policy: policies.check_request(policy, label="Art"),
            (
                "marking.visible_label",
                "the label 'Art' is not the policy's, 'AI'",
                "leave --label out: the policy draws its own",
            ),
        ),
        *(
            (
                f'marking.require = ["{layer}"]',
                lambda policy: policies.check_marks(policy, ()),
                ("marking.require", f"the picture lacks what the policy requires: {layer}", hint),
            )
            for layer, hint in (
                ("c2pa", 'imggen keys init --organisation "Example Ltd"'),
                ("watermark", "--watermark on"),
                ("recipe", "--metadata full"),
                ("infotext", "--metadata full"),
                ("iptc", "--metadata full"),
            )
        ),
        (
            'marking.require = ["iptc", "recipe"]',
            lambda policy: policies.check_strip(policy, ("recipe", "iptc")),
            ("marking.require", "the policy requires what would be taken away: iptc, recipe", STRIPPED),
        ),
        (
            "inputs.keep_provenance = true",
            lambda policy: policies.check_strip(policy, ("watermark", "iptc", "c2pa", "recipe")),
            (
                "inputs.keep_provenance",
                "the policy keeps the marks of pictures that come in: c2pa, iptc, watermark",
                STRIPPED,
            ),
        ),
        (
            "audit.user_variable = 'JOB'",
            lambda policy: policies.check_user(policy, {"JOB": ""}),
            ("audit.user_variable", "the policy records $JOB, which is not set", "export JOB=..."),
        ),
    ],
)
def test_a_refusal_names_its_rule_what_is_so_and_what_to_do(text, ask, refusal):
    assert said(ask(parse(text))) == refusal


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[models]\nallow = ['n@main']", "a branch or tag can move to other weights", "write the commit: n@0123abc…"),
        ("[models]\ndeny = ['x', 'sha256:12345678901']", "12 to 64 hexadecimal digits stand after", "sha256:0123…"),
        ("[models]\nallow = ['folder: ']", "nothing stands after folder:", "folder:…"),
        ("[models]\nallow = ['license:']", "nothing stands after license:", "license:…"),
        (
            "[models]\nallow = [' ']",
            "not the name of a model",
            "builtin, organisation/*, organisation/name@commit, sha256:…, license:…, folder:…",
        ),
        (
            "[models]\nallow = ['http://x@0123456']",
            "not the name of a model",
            "builtin, organisation/*, organisation/name@",
        ),
        ("[prompt]\ndeny = ['!']", "the term '!' has no word in it", r're:… for punctuation, such as "re:\\$"'),
        ("[prompt]\ndeny = ['re:\u200b']", r"the pattern '\u200b' has '\u200b', which no prompt", "write a space, or"),
        ("[prompt]\ndeny = ['re:ａb']", "the pattern 'ａb' has 'ａ', which no prompt has once it is folded", "write a"),
        ("[audit]\nuser = ' '", "p.toml's audit.user is empty", "leave it out"),
        ("[audit]\nlog = ''", "p.toml's audit.log is empty", "leave it out"),
        ("[audit]\nuser = 'a'\nuser_variable = 'B'", "p.toml's audit has both user and", "leave one of the two out"),
        ("[safety]\nimage_checker = [' ', 'x']", "p.toml's safety.image_checker names no program", None),
        ("[marking]\nvisible_label = '" + "x" * 41 + "'", "not text of 1 to 40 characters", None),
        ("[marking]\nvisible_label = 'x '", "not text of 1 to 40 characters", None),
        ("[audit]\nuser_variable = '1B'", "not the name of an environment variable", None),
    ],
)
def test_a_wrong_rule_says_what_is_wrong_and_what_would_do(text, message, hint):
    with pytest.raises(RequestError) as caught:
        parse(text)
    assert message in caught.value.message
    assert (caught.value.hint or "").startswith(hint or "")
    assert (hint is None) == (caught.value.hint is None)


@pytest.mark.parametrize(
    "text",
    [
        "[prompt]\nmax_length = 1",
        "[prompt]\nmax_length = 20000",
        "[prompt]\ndeny = ['re:Apple', 're:é']",
        "[models]\nallow = ['sha256:123456789012', 'n@0123456', 'license:x', 'folder:/x', 'a@b@0123456']",
        f"[models]\ndeny = ['sha256:{'0' * 64}', 'n@{'0' * 64}']",
        "[marking]\nvisible_label = 'x'",
        "[marking]\nvisible_label = '" + "x" * 40 + "'",
        "[audit]\nuser_variable = '_B1'\nlog = 'x'",
        "[audit]\nuser = 'x'",
        "[safety]\nimage_checker = ['x', '']",
    ],
)
def test_what_is_just_allowed_is_allowed(text):
    assert parse(text).schema == 1


@pytest.mark.parametrize("name", ["deny", "allow"])
def test_a_hash_in_either_list_is_asked_for(name):
    assert policies.needs_hash(parse(f"[models]\n{name} = ['x', 'sha256:{HASH}']"))


def test_what_is_too_long_or_too_new_is_said_with_its_numbers():
    with pytest.raises(RequestError) as caught:
        policies.parse("#" * ((1 << 20) + 1), subject="it")
    assert caught.value.message == "it is larger than 1 MiB"
    with pytest.raises(RequestError, match="it has no schema number") as caught:
        policies.parse("#" * (1 << 20), subject="it")
    assert caught.value.hint == "schema = 1"
    with pytest.raises(RequestError, match=r"^it is not valid TOML: Expected "):
        policies.parse("a", subject="it")
    with pytest.raises(RequestError) as caught:
        policies.parse("schema = 2", subject="it")
    assert caught.value.message == "it has schema 2; this imggen reads up to 1"
    assert caught.value.hint == "pip install --upgrade imggen"


@pytest.mark.parametrize(
    ("records", "strictest"),
    [(("full", "hash"), "hash"), (("omit", "hash"), "omit"), (("full", "omit", "hash"), "omit"), (("full",), "full")],
)
def test_the_stricter_record_tells_less(records, strictest):
    assert policies.stricter(*records) == policies.stricter(*reversed(records)) == strictest


def test_the_first_rule_that_is_broken_is_the_one_named():
    policy = rules("pear", "apple", "plum")
    assert refuses(policy, "plum, apple") == "prompt.deny[1]"
    both = parse("[models]\nrequire_safetensors = true\ndeny = ['*']\nallow = ['other']")
    ask = ModelIdentity(reference="x/y", pickles=True)
    assert policies.check_model(both, ask).rule == "models.require_safetensors"
    assert policies.check_model(both, ModelIdentity(reference="x/y")).rule == "models.deny[0]"


def test_an_exception_that_reaches_further_back_covers_a_match_behind_a_shorter_one():
    policy = rules("c", allow=("re:a b c d", "re:b"))
    assert refuses(policy, "a b c d") is None
    assert refuses(policy, "a b c") == "prompt.deny[0]"
    assert refuses(rules("a b", allow=("a", "b")), "a b") == "prompt.deny[0]"
