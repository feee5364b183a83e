from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imggen.engine.pipeline import loader
from imggen.engine.sampling import methods, prompt_weighting, sampler
from imggen.engine.sampling.prompt_weighting import Text
from imggen.plan.schema.change import Change
from imggen.plan.schema.given import Given
from imggen.plan.schema.recipe import Recipe
from tests.engine import pipelines

LONG = "a red apple on a teal background, " * 12
CLIP = {"sd": "last", "sdxl": "penultimate", "builtin": "last"}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Return a function that gives the one pipeline of a family."""
    made = {"builtin": pipelines.builtin()}

    def give(family):
        if family not in made:
            made[family] = pipelines.tiny(family, tmp_path_factory.mktemp(family))
        return made[family]

    return give


def embeds(pipe, family, prompt, negative=None, *, reading="weights"):
    """What the pipeline's own call would get: embeddings, negative ones, and for SDXL the pooled ones of both."""
    texts = [Text(each, reading) for each in (prompt, negative) if each is not None]
    options = {"negative_prompt": texts[1]} if negative is not None else {}
    with torch.no_grad(), prompt_weighting.conditioned(pipe, CLIP[family], texts):
        return pipe.encode_prompt(
            prompt=texts[0], device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, **options
        )


def plain(pipe, prompt, negative=None):
    with torch.no_grad():
        return pipe.encode_prompt(
            prompt=prompt,
            device="cpu",
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=negative,
        )


def chunk(tokenizer, encoder, words, *, penultimate):
    """One chunk by hand: the ids that the tokenizer itself pads, and the layer that the family reads."""
    ids = tokenizer(words, padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
    with torch.no_grad():
        made = encoder(ids, output_hidden_states=True)
    return (made.hidden_states[-2] if penultimate else made.last_hidden_state), made[0]


@pytest.mark.parametrize("family", ["builtin", "sd", "sdxl"])
@pytest.mark.parametrize("negative", [None, "blurry"])
def test_words_that_fit_take_the_pipelines_own_way(pipeline, family, negative):
    pipe = pipeline(family)
    for prompt in ("a red apple", "a (red:1.0) apple"):
        for mine, own in zip(embeds(pipe, family, prompt, negative), plain(pipe, "a red apple", negative), strict=True):
            assert torch.equal(mine, own)


@pytest.mark.parametrize("family", ["builtin", "sd"])
def test_weights_multiply_what_the_encoder_makes_of_a_token_and_keep_the_mean(pipeline, family, monkeypatch):
    pipe = pipeline(family)
    tokenizer, words = pipe.tokenizer, "a red apple"
    # Trained encoders' tokens have means of one sign; random ones have none.
    biases = [each for name, each in pipe.text_encoder.named_parameters() if name.endswith("final_layer_norm.bias")]
    monkeypatch.setattr(biases[0], "data", biases[0].data + (0.5 if family == "sd" else 0))
    z, _ = chunk(tokenizer, pipe.text_encoder, words, penultimate=False)
    w = torch.ones(z.shape[1])
    red = tokenizer("a red", add_special_tokens=False).input_ids
    w[1 + len(tokenizer("a", add_special_tokens=False).input_ids) : 1 + len(red)] = 1.4
    weighed = z * w[None, :, None]
    expected = weighed * (z.mean() / weighed.mean())
    torch.testing.assert_close(embeds(pipe, family, "a (red:1.4) apple")[0], expected)
    torch.testing.assert_close(embeds(pipe, family, "a (red:1.4) apple")[1], plain(pipe, words)[1])


def test_sdxl_weighs_both_encoders_without_the_mean_and_not_the_pooled_words(pipeline):
    pipe = pipeline("sdxl")
    expected = []
    for tokenizer, encoder in ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)):
        z, pooled = chunk(tokenizer, encoder, "a red apple", penultimate=True)
        count = len(tokenizer("a red apple", add_special_tokens=False).input_ids)
        w = torch.ones(z.shape[1])
        w[1 : 1 + count] = 0.6
        expected.append(z * w[None, :, None])
    made = embeds(pipe, "sdxl", "(a red apple:0.6)")
    torch.testing.assert_close(made[0], torch.cat(expected, dim=-1))
    torch.testing.assert_close(made[2], pooled)
    # Its models take zeros where nothing is said.
    assert not made[1].any()
    assert not made[3].any()


@pytest.mark.parametrize("family", ["builtin", "sd", "sdxl"])
def test_parts_are_chunks_laid_end_to_end_and_the_other_prompt_is_as_long(pipeline, family):
    pipe, penultimate = pipeline(family), family == "sdxl"
    encoders = [(pipe.tokenizer, pipe.text_encoder)]
    encoders += [(pipe.tokenizer_2, pipe.text_encoder_2)] if penultimate else []

    def by_hand(*parts):
        return torch.cat(
            [torch.cat([chunk(*each, part, penultimate=penultimate)[0] for part in parts], dim=1) for each in encoders],
            dim=-1,
        )

    made = embeds(pipe, family, "a red apple BREAK a moon BREAK a star", "blurry BREAK dark")
    torch.testing.assert_close(made[0], by_hand("a red apple", "a moon", "a star"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made[1], by_hand("blurry", "dark", ""), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_the_end_of_a_long_prompt_counts_and_its_beginning_stays(pipeline, family):
    pipe = pipeline(family)
    made = [embeds(pipe, family, LONG + end, reading="chunks")[0] for end in ("", "a moon", "a star")]
    length = pipe.tokenizer.model_max_length
    assert made[0].shape[1] > 2 * length - 1
    assert made[1].shape == made[2].shape
    torch.testing.assert_close(made[1][:, :length], made[2][:, :length])
    assert not torch.allclose(made[1], made[2], atol=1e-3)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_long_prompt_of_an_old_recipe_is_cut_as_it_was(pipeline, family):
    pipe = pipeline(family)
    own = plain(pipe, LONG)
    torch.testing.assert_close(embeds(pipe, family, LONG, reading="cut")[0], own[0], rtol=0, atol=0)


def test_a_long_negative_prompt_makes_the_prompt_as_long(pipeline):
    made = embeds(pipeline("sd"), "sd", "a red apple", LONG, reading="chunks")
    assert made[0].shape == made[1].shape
    torch.testing.assert_close(made[0][:, :77], plain(pipeline("sd"), "a red apple")[0])


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=60), st.integers(4, 20))
def test_chunks_keep_all_tokens_in_order_and_end_behind_a_comma_that_is_near(ids, room):
    tokens = [prompt_weighting._Token(id=each, weight=1.0) for each in ids]
    rows = list(prompt_weighting._chunked(tokens, room, comma=1))
    assert [each for row in rows for each in row] == tokens
    near = int(room * 4 / 15)
    for row in rows[:-1]:
        assert room - near < len(row) <= room
        assert len(row) == room or row[-1].id == 1
        assert not any(each.id == 1 for each in tokens[len(row) : room] if near == 0)


def test_a_learnt_word_of_several_vectors_is_read_whole(tmp_path):
    pipe = pipelines.tiny("sd", tmp_path)
    vectors = torch.randn(3, pipe.text_encoder.config.hidden_size, generator=pipelines.generator(0))
    pipe.load_textual_inversion(vectors, token="<thing>")
    first = pipe.tokenizer.convert_tokens_to_ids("<thing>")
    rows = prompt_weighting._PromptReader(pipe, "last", [Text("a", "weights")])._rows(
        Text("a (<thing>:1.2) apple", "weights"), pipe.tokenizer
    )
    (row,) = rows
    learnt = [each for each in row if each.id >= first]
    assert [each.id for each in learnt] == [first, first + 1, first + 2]
    assert [each.goes_on for each in learnt] == [False, True, True]
    assert {each.weight for each in learnt} == {1.2}
    # One that would be cut in two goes into the next chunk as a whole.
    filler = len(pipe.tokenizer("apple", add_special_tokens=False).input_ids)
    tokens = [prompt_weighting._Token(id=0, weight=1.0)] * (75 // filler * filler - 1) + learnt
    head, tail = prompt_weighting._chunked(tokens, len(tokens) - 1, comma=-1)
    assert list(tail) == learnt
    assert len(head) + len(tail) == len(tokens)


def test_weights_stay_what_they_are_where_tokens_have_no_mean_to_keep():
    cancelling = torch.tensor([[[1.0], [-1.1]]])
    made = prompt_weighting.weigh(cancelling, torch.tensor([[1.0, 3.0]]), keep_mean=True)
    torch.testing.assert_close(made, torch.tensor([[[1.0], [-3.3]]]))


@given(st.lists(st.floats(0, 4), min_size=4, max_size=4), st.integers(0, 99))
def test_weighing_gives_numbers_and_keeps_unweighed_chunks_bit_for_bit(weights, seed):
    hidden = torch.randn(2, 4, 3, generator=pipelines.generator(seed))
    made = prompt_weighting.weigh(hidden, torch.tensor([weights, [1.0] * 4]), keep_mean=True)
    assert made.isfinite().all()
    assert torch.equal(made[1], hidden[1])
    assert prompt_weighting.weigh(hidden.bfloat16(), torch.ones(2, 4), keep_mean=True).dtype == torch.bfloat16


class TestDrawing:
    def draw(self, folder, make_plan, *, load=None, **changes):
        plan = make_plan(folder, steps=2, **changes)
        plan = replace(plan, arguments=plan.arguments | {"prompt": plan.prompt})
        pipe = (load or loader.load)(plan)
        return [np.asarray(each.image).astype(int) for each in sampler.sample(pipe, plan)]

    def test_weights_and_ends_of_long_prompts_change_the_picture(self, tiny_models, make_plan):
        folder = tiny_models("sd")
        loaded = loader.load(make_plan(folder))

        def drawn(prompt, reading):
            (made,) = self.draw(folder, make_plan, load=lambda _: loaded, prompt=prompt, reading=reading)
            return made

        plain = drawn("a red apple", "cut")
        assert (drawn("a red apple", "chunks") == plain).all()
        assert (drawn("a (red:1.0) apple", "weights") == plain).all()
        assert (drawn("a (red:1.8) apple", "weights") != plain).any()
        assert (drawn(LONG + "a moon", "chunks") != drawn(LONG + "a star", "chunks")).any()
        assert (drawn(LONG + "a moon", "cut") == drawn(LONG + "a star", "cut")).all()

    @pytest.mark.parametrize("family", ["sd", "sdxl", "lcm"])
    def test_weights_and_chunks_survive_offloading(self, tiny_models, make_plan, family):
        asked = {"prompt": LONG + "(a moon:1.3)", "reading": "weights"}
        (resident,) = self.draw(tiny_models(family), make_plan, **asked)
        (moved,) = self.draw(tiny_models(family), make_plan, offload="model", **asked)
        assert (resident == moved).all()

    def test_each_picture_is_drawn_from_its_own_words(self, tiny_models, make_plan):
        folder = tiny_models("sd")
        prompts, negatives = ("a (red:1.4) apple", "a moon"), ("", "blurry")
        both = self.draw(
            folder,
            make_plan,
            seeds=(1, 2),
            prompt=prompts[0],
            prompts=prompts,
            negative_prompts=negatives,
            reading="weights",
        )
        (first,) = self.draw(folder, make_plan, seeds=(1,), prompt=prompts[0], reading="weights")
        assert (both[0] == first).all()
        plan = make_plan(folder, steps=2, seeds=(2,))
        words = {"prompt": "a moon", "negative_prompt": "blurry"}
        (second,) = sampler.sample(loader.load(plan), replace(plan, arguments=plan.arguments | words))
        assert (both[1] == np.asarray(second.image)).all()

    def test_nothing_is_called_unread_that_is_read_in_chunks(self, tiny_models, make_plan):
        plan = make_plan(tiny_models("sd"), prompt=LONG)
        pipe = loader.load(plan)
        assert "not read" in sampler.cut_prompt(pipe, plan)
        assert sampler.cut_prompt(pipe, replace(plan, reading="chunks")) is None
        short = replace(plan, prompt="a", prompts=("a", LONG), seeds=(1, 2))
        assert "not read" in sampler.cut_prompt(pipe, short)


def test_children_of_long_and_weighed_parents_mix_what_the_parents_show(tiny_models, make_plan):
    def parent(prompt, reading, seed):
        recipe = Recipe(
            task="text-to-image",
            prompt=prompt,
            negative_prompt="",
            model="m",
            model_revision=None,
            model_hash="0" * 64,
            family="sd",
            width=64,
            height=64,
            steps=2,
            guidance=4.0,
            seed=seed,
            sampler="default",
            device="cpu",
            dtype="float32",
            attention_slicing="off",
            vae_tile=0,
            offload="none",
            reading=reading,
        )
        return Given(role="parent", name=prompt[:9], sha256="0" * 64, width=64, height=64, recipe=recipe)

    def drawn(*parents, weights):
        plan = make_plan(
            tiny_models("sd"),
            steps=2,
            task="blend",
            change=Change(method="noise-and-words"),
            given=parents,
            weights=weights,
            seeds=(5,),
        )
        entrance = methods.prepare(pipe, plan, methods.Pictures())
        return np.asarray(sampler.draw(pipe, plan, 1, entrance=entrance).image).astype(int)

    plan = make_plan(tiny_models("sd"), steps=2, seeds=(1,))
    pipe = loader.load(plan)
    long, weighed = parent(LONG + "(a moon:1.3)", "weights", 1), parent("a (red:1.6) apple", "weights", 2)
    asked = plan.arguments | {"prompt": long.recipe.prompt}
    (alone,) = sampler.sample(pipe, replace(plan, prompt=long.recipe.prompt, reading="weights", arguments=asked))
    assert (drawn(long, weights=(1.0,)) == np.asarray(alone.image)).all()
    child = drawn(long, weighed, weights=(0.5, 0.5))
    assert (child != drawn(long, parent("a red apple", "cut", 2), weights=(0.5, 0.5))).any()
