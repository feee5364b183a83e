from dataclasses import replace

import pytest
from recipes import APPLE

from imggen.errors import RequestError
from imggen.plan.generation import reproduce, resolve, words
from imggen.plan.schema import template
from imggen.plan.schema.given import Given
from imggen.plan.schema.recipe import parse
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.settings import settings
from tests.plan.conftest import GIB, builtin, flux, laptop, stable_diffusion_xl

ROOMY = laptop(memory_bytes=512 * GIB, free_bytes=500 * GIB)
TEMPLATE = "a (red:1.3) apple, {matte|glossy}"


def fault(make_plan, *arguments, **fields):
    with pytest.raises(RequestError) as caught:
        make_plan(*arguments, **fields)
    return caught.value


def test_each_seed_has_its_own_words_and_the_call_those_of_the_first(make_plan):
    plan = make_plan(prompt=TEMPLATE, seed="1-8")
    assert set(plan.prompts) == {"a (red:1.3) apple, matte", "a (red:1.3) apple, glossy"}
    assert len(plan.prompts) == 8
    assert plan.prompt == plan.arguments["prompt"] == plan.prompts[0]
    assert (plan.reading, plan.template) == ("weights", TEMPLATE)
    assert [plan.words(seed)[0] for seed in plan.seeds] == list(plan.prompts)


def test_a_seed_has_the_same_words_alone(make_plan):
    many = make_plan(prompt=TEMPLATE, negative_prompt="{blurry|dark}, {a|b|c}", seed="1-8")
    for seed in many.seeds:
        alone = make_plan(prompt=TEMPLATE, negative_prompt="{blurry|dark}, {a|b|c}", seed=str(seed))
        assert (alone.prompt, alone.negative_prompt) == many.words(seed)
        assert not alone.prompts


def test_words_without_marks_are_plain_and_come_from_no_template(make_plan):
    plan = make_plan(prompt="a red apple", negative_prompt="blurry", seed="1-3")
    assert (plan.prompt, plan.prompts, plan.reading, plan.template) == ("a red apple", (), "chunks", "")


def test_escapes_alone_leave_plain_words(make_plan):
    plan = make_plan(prompt=r"a dog \(sitting\), \{x\}, (red:1.0)")
    assert (plan.prompt, plan.reading) == ("a dog (sitting), {x}, red", "chunks")
    assert plan.template == r"a dog \(sitting\), \{x\}, (red:1.0)"


def test_plain_syntax_takes_all_words_as_they_stand(make_plan):
    plan = make_plan(prompt=TEMPLATE + " __x__ <lora:y:1> )", prompt_syntax="plain", seed="1-2")
    assert (plan.prompt, plan.prompts, plan.reading) == (TEMPLATE + " __x__ <lora:y:1> )", (), "chunks")


def test_weights_syntax_takes_braces_as_they_stand(make_plan):
    plan = make_plan(prompt=TEMPLATE, prompt_syntax="weights", seed="1-2")
    assert (plan.prompt, plan.prompts, plan.reading) == (TEMPLATE, (), "weights")


def test_weights_work_with_clip_encoders_and_are_refused_by_name_with_others(make_plan):
    assert make_plan(stable_diffusion_xl(), ROOMY, prompt="a (red:1.3) apple").reading == "weights"
    error = fault(make_plan, flux(), ROOMY, prompt="a (red:1.3) apple")
    assert "the prompt, column 7: the weight 1.3 means nothing to FLUX.1" in error.message
    assert "BREAK means nothing to FLUX.1" in fault(make_plan, flux(), ROOMY, prompt="a BREAK b").message
    plan = make_plan(flux(), ROOMY, prompt="a (red:1.3) apple", prompt_syntax="plain")
    assert (plan.prompt, plan.reading) == ("a (red:1.3) apple", "cut")


def test_alternatives_work_with_every_encoder_and_bare_brackets_stay(make_plan):
    plan = make_plan(flux(), ROOMY, prompt="a {dog|cat} (sitting) [sic]", seed="1-8")
    assert set(plan.prompts) == {"a dog (sitting) [sic]", "a cat (sitting) [sic]"}
    assert plan.reading == "cut"


def test_prompts_that_come_out_empty_are_refused_by_their_seed(make_plan):
    error = fault(make_plan, prompt="{a|}", seed="1-9")
    assert "the prompt is empty for seed " in error.message
    assert "is empty for seed" in fault(make_plan, prompt="()").message


def test_unknown_words_are_told_of_what_is_read_and_not_of_marks(make_plan):
    notes = make_plan(prompt="(a {red|teal} aple:1.3)", seed="1-8").notes
    assert len(notes) == 1
    assert "not aple" in notes[0]


def test_wildcards_of_the_case_are_chosen_from(make_plan):
    request = GenerateRequest(prompt="a __c__ apple", seed="1-9")
    files = template.collect(words.templates(request).values(), lambda name: (name, "red\nteal"))
    plan = resolve.resolve(
        request, builtin(), laptop(), wildcards=files, draw_seed=lambda _: 7, check_call=lambda *_: None
    )
    assert set(plan.prompts) == {"a red apple", "a teal apple"}


@pytest.mark.parametrize("reading", ["cut", "chunks", "weights"])
def test_recorded_words_are_never_chosen_again(make_plan, reading):
    recorded = replace(APPLE, family="sd", prompt=r"a {b|c} \(d\) __e__ <lora:f:1>", reading=reading)
    request = reproduce.from_recipe(recorded, GenerateRequest())
    assert words.templates(request) == {}
    fields = {each: getattr(request, each) for each in ("prompt", "negative_prompt", "reading")}
    plan = make_plan(origin=request.origin, **fields)
    expected = r"a {b|c} \(d\) __e__ <lora:f:1>" if reading != "weights" else "a {b|c} (d) __e__ <lora:f:1>"
    assert plan.prompt == expected
    assert plan.reading == ("chunks" if reading == "weights" else reading)
    assert plan.template == ""


def test_weights_of_a_recipe_stay_and_new_words_beside_it_have_the_whole_grammar(make_plan):
    recorded = replace(APPLE, family="sd", negative_prompt="bad (hands)", reading="cut")
    request = reproduce.from_recipe(recorded, settings.from_command_line({"prompt": "a (red:1.2) {apple|pear}"}))
    assert request.reading == {"negative_prompt": "cut"}
    plan = make_plan(
        prompt=request.prompt, negative_prompt=request.negative_prompt, reading=request.reading, origin=request.origin
    )
    assert plan.prompt in ("a (red:1.2) apple", "a (red:1.2) pear")
    assert plan.negative_prompt == r"bad \(hands\)"
    again = parse(replace(recorded, prompt="a (red:1.2) apple", reading="weights").to_json())
    request = reproduce.from_recipe(again, GenerateRequest())
    assert request.reading == {"prompt": "weights", "negative_prompt": "weights"}


def test_what_parents_show_is_joined_with_their_marks(make_plan):
    def parent(prompt, reading):
        recipe = replace(APPLE, family="sd", prompt=prompt, reading=reading)
        return Given(role="parent", name="a.png", sha256="0" * 64, width=64, height=64, recipe=recipe)

    both = (parent("a (red:1.2) apple", "weights"), parent("a cat (sitting)", "cut"))
    adopted = reproduce.adopt(GenerateRequest(task="blend", images=("a.png", "b.png")), both)
    assert adopted.prompt == r"a (red:1.2) apple, a cat \(sitting\)"
    assert adopted.reading["prompt"] == "weights"
    adopted = reproduce.adopt(GenerateRequest(task="blend", images=("b.png",)), both[1:])
    assert (adopted.prompt, adopted.reading["prompt"]) == ("a cat (sitting)", "chunks")


def test_recorded_weights_are_refused_by_other_encoders_with_the_words_to_type(make_plan):
    request = reproduce.from_recipe(
        replace(APPLE, family="sd", prompt="a (red:1.2) apple", reading="weights"), GenerateRequest()
    )
    fields = {each: getattr(request, each) for each in ("prompt", "reading")}
    error = fault(make_plan, flux(), ROOMY, origin=request.origin, **fields)
    assert "the weight 1.2 means nothing to FLUX.1" in error.message
    assert error.hint == "'a red apple'"


def test_weights_that_parents_were_drawn_with_are_only_what_they_show_to_other_encoders(make_plan):
    fields = {"prompt": "a (red:1.2) apple", "reading": {"prompt": "weights"}}
    plan = make_plan(flux(), ROOMY, origin={"prompt": "recipe of a given picture"}, **fields)
    assert plan.prompt == "a red apple"


def test_a_syntax_for_words_that_a_recipe_says_is_refused(make_plan):
    request = reproduce.from_recipe(replace(APPLE, family="sd"), GenerateRequest(prompt_syntax="plain"))
    fields = {each: getattr(request, each) for each in ("prompt", "negative_prompt", "reading", "prompt_syntax")}
    error = fault(make_plan, origin=request.origin, **fields)
    assert "--prompt-syntax plain: all words come from the recipe" in error.message
    assert make_plan(origin=request.origin, **(fields | {"prompt_syntax": None})).prompt == "a red apple"
