"""Names of files: templates, folders, defaults, and what may never come out of them."""

from datetime import date
from pathlib import PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.settings import naming
from imggen.plan.settings.naming import Named, NamedAfter, NamedEnlarged


def apple(**values: object) -> Named:
    given_values = {
        "seed": 42,
        "index": 1,
        "prompt": "A red apple, on teal!",
        "model": "org/fine-model",
        "width": 128,
        "height": 96,
        "steps": 20,
        "sampler": "DPM++ 2M",
        "date": date(2026, 11, 21),
    }
    return Named(**{**given_values, **values})


def larger(**values: object) -> NamedEnlarged:
    given_values = {
        "stem": "My Cat",
        "index": 1,
        "width": 256,
        "height": 192,
        "scale": 2.0,
        "model": "builtin",
        "date": date(2026, 11, 21),
    }
    return NamedEnlarged(**{**given_values, **values})


def one_larger(template: str | None, **values: object) -> str:
    return naming.expand(template, [larger(**values)], "png", default="{stem}-{scale}x")[0].as_posix()


def one(template: str | None, **values: object) -> str:
    return naming.expand(template, [apple(**values)], "png")[0].as_posix()


def test_without_a_template_the_prompt_and_the_seed_name_the_file():
    assert one(None) == "a-red-apple-on-teal-42.png"
    assert naming.expand(None, [apple()], "jpeg")[0].suffix == ".jpg"


def test_plain_name_is_taken_as_it_is():
    assert one("Out/My Apple.png") == "Out/My Apple.png"
    assert one("apple") == "apple"


def test_every_field_is_filled():
    template = "{seed}_{index:03}_{prompt:.5}_{model}_{width}x{height}_{steps}_{sampler}_{date}.png"
    assert one(template) == "42_001_a-red_fine-model_128x96_20_dpm-2m_2026-11-21.png"


def test_doubled_braces_are_braces():
    assert one("{{{seed}}}.png") == "{42}.png"


@pytest.mark.parametrize("template", ["out/", "out//", "out"])
def test_folder_gets_the_default_name(template):
    found = naming.expand(template, [apple()], "webp", folder=template == "out")
    assert found[0].as_posix() == "out/a-red-apple-on-teal-42.webp"


def test_folder_may_hold_fields():
    assert one("out/{model}/") == "out/fine-model/a-red-apple-on-teal-42.png"


def test_pictures_that_would_share_a_name_are_numbered():
    pictures = [apple(seed=seed, index=seed) for seed in (1, 2, 3)]
    names = [path.name for path in naming.expand("cat.png", pictures, "png")]
    assert names == ["cat-1.png", "cat-2.png", "cat-3.png"]
    assert [path.name for path in naming.expand("{seed}.png", pictures, "png")] == ["1.png", "2.png", "3.png"]


def test_numbered_name_never_meets_another_one():
    pictures = [apple(prompt="x"), apple(prompt="x"), apple(prompt="x 1")]
    names = [path.name for path in naming.expand("{prompt}.png", pictures, "png")]
    assert len(set(names)) == 3
    assert "x-1.png" in names


def test_unknown_field_names_the_nearest_one():
    with pytest.raises(RequestError) as caught:
        one("{sed}.png")
    assert "{sed}" in caught.value.message
    assert "{seed}" in caught.value.hint


@pytest.mark.parametrize(
    "template", ["{}.png", "{0}.png", "{seed.real}.png", "{prompt[0]}.png", "{prompt.__class__}.png"]
)
def test_nothing_but_a_field_stands_in_braces(template):
    with pytest.raises(RequestError, match="unknown field"):
        one(template)


@pytest.mark.parametrize(
    "template", ["{seed:999999999}", "{seed: >9}", "{prompt!r}", "{prompt:{seed}}", "{date:%Y/%m}"]
)
def test_format_that_could_do_more_than_pad_or_cut_is_refused(template):
    with pytest.raises(RequestError, match="template"):
        one(template)


@pytest.mark.parametrize("template", ["{seed", "seed}", "", "a\0b"])
def test_template_that_is_none_is_refused(template):
    with pytest.raises(RequestError):
        one(template)


@pytest.mark.parametrize(
    "template", ["{prompt}/../x.png", "out/{prompt}/../../../x.png", "{seed}\\..\\x.png", "o/{seed}/.."]
)
def test_template_that_leaves_its_folder_after_a_field_is_refused(template):
    with pytest.raises(RequestError, match=r"'\.\.' after a field"):
        one(template)


def test_folder_that_the_user_wrote_out_may_be_anywhere():
    assert one("../out/{seed}.png") == "../out/42.png"


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_field_makes_a_path_of_its_own(prompt, model):
    path = naming.expand("out/{prompt}-{model}.png", [apple(prompt=prompt, model=model, sampler=model)], "png")[0]
    assert path.parent == PurePath("out")
    assert len(path.name.encode()) <= 2 * naming.SLUG_BYTES + len("-.png")
    assert not {"/", "\\", "\0", ":", "\n"} & set(path.name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "x"),
        ("../../etc/passwd", "etc-passwd"),
        ("🍎❤️", "x"),
        ("Füße", "füsse"),
        ("赤いりんご", "赤いりんご"),
        ("हिन्दी सेब", "हिन्दी-सेब"),
        ("CON", "con-"),
        ("word " * 30, "-".join(["word"] * 12)),
        ("a" * 99, "a" * 60),
    ],
)
def test_slug_is_words_and_nothing_else(text, expected):
    assert naming.slug(text, "x") == expected


def test_suffix_names_the_format():
    assert naming.format_of("a.JPEG") == "jpeg"
    assert naming.format_of("a.webp") == "webp"
    assert naming.format_of("out/v1.2") is None
    assert [naming.format_of(f"a.{each}") for each in ("avif", "tif", "TIFF")] == ["avif", "tiff", "tiff"]
    with pytest.raises(RequestError, match=r"\.heic"):
        naming.format_of("a.heic")


def test_stem_is_the_name_without_folder_and_suffix():
    assert naming.stem("a/My Cat.v2.png") == "My Cat.v2"
    assert naming.stem("-") == "stdin"


def test_larger_picture_is_named_after_its_source():
    assert one_larger(None) == "My Cat-2x.png"
    assert one_larger("big/{stem}_{index:02}_{width}x{height}_{scale}_{model}_{date}.png", scale=1.5) == (
        "big/My Cat_01_256x192_1.5_builtin_2026-11-21.png"
    )
    assert one_larger("{stem:.2}.png") == "My.png"


@pytest.mark.parametrize(
    ("scale", "written"), [(2.0, "2"), (1.5, "1.5"), (19.2, "19.2"), (3.14159, "3.14"), (16.0, "16")]
)
def test_scale_is_written_without_idle_digits(scale, written):
    assert one_larger("{scale}", scale=scale) == written


@pytest.mark.parametrize("field", ["seed", "prompt", "steps", "sampler"])
def test_larger_picture_has_no_fields_of_a_prompt(field):
    with pytest.raises(RequestError, match=f"unknown field {{{field}}}"):
        one_larger(f"{{{field}}}.png")


@pytest.mark.parametrize("field", ["stem", "scale"])
def test_picture_from_words_alone_has_no_fields_of_a_file(field):
    with pytest.raises(RequestError, match=f"unknown field {{{field}}}"):
        one(f"{{{field}}}.png")


def test_picture_from_words_and_a_file_has_the_fields_of_both():
    values = {each: getattr(apple(), each) for each in Named.__dataclass_fields__}
    both = NamedAfter(**values, stem="Photo 1")
    assert naming.expand("{stem}_{seed}_{prompt:.5}.png", [both], "png")[0].name == "Photo 1_42_a-red.png"


@settings(deadline=None)
@given(st.text(), st.sampled_from(["", ":.1", ":.2", ":.20"]))
def test_no_stem_makes_a_path_of_its_own(stem, spec):
    template = f"out/{{stem{spec}}}/x.png"
    path = naming.expand(template, [larger(stem=stem)], "png")[0]
    assert len(path.parts) == 3
    assert path.parts[1] not in (".", "..")
    assert not any(each < " " or each in "/\\\x7f" for each in path.parts[1])


def test_stem_of_dots_is_no_folder():
    assert one_larger("out/{stem}/x.png", stem="..") == "out/picture/x.png"
    assert one_larger("out/{stem}.png", stem=".hidden") == "out/.hidden.png"
