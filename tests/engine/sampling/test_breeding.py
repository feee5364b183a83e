import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imggen.engine.sampling import breeding
from imggen.engine.sampling.breeding import Gene
from imggen.errors import RequestError
from tests.engine import pipelines

SHAPE = (1, 4, 64, 64)
SEEDS = st.integers(0, 10_000)
WEIGHTS = st.lists(st.floats(0.05, 1), min_size=2, max_size=5)


def noise(seed, *, scale=1.0):
    return scale * torch.randn(SHAPE, generator=pipelines.generator(seed))


def latents(seed):
    """Like an encoded picture: smooth, and every channel with a mean and a contrast of its own."""
    coarse = torch.randn(1, 4, 8, 8, generator=pipelines.generator(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=SHAPE[2:], mode="bicubic")
    return smooth * torch.tensor([0.5, 1.0, 1.5, 2.0]).view(1, 4, 1, 1) + torch.arange(-1, 3).view(1, 4, 1, 1)


def means(tensor):
    return tensor.mean((2, 3))


def deviations(tensor):
    return tensor.std((2, 3), correction=0)


@given(SEEDS, WEIGHTS, st.sampled_from([1.0, 14.6]))
def test_mixed_noises_have_the_deviation_of_noise(seed, weights, scale):
    mixed = breeding.mix_noise([noise(seed + n, scale=scale) for n in range(len(weights))], weights)
    assert mixed.std() == pytest.approx(scale, rel=0.02)
    assert mixed.mean().abs() < 0.05 * scale


def test_mixed_independent_noises_agree_with_the_papers_formula():
    weights = (0.5, 0.3, 0.2)
    noises = [noise(n) for n in range(3)]
    exact = sum(w * z for w, z in zip(weights, noises, strict=True)) / math.sqrt(sum(w * w for w in weights))
    torch.testing.assert_close(breeding.mix_noise(noises, weights), exact, rtol=0.03, atol=0)


def test_mixed_noises_with_an_ancestor_in_common_have_the_deviation_of_noise():
    mother, father = noise(1), noise(2)
    child = breeding.mix_noise([mother, father], (0.7, 0.3))
    assert breeding.mix_noise([child, mother], (0.5, 0.5)).std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(("mix", "parent"), [(breeding.mix_noise, noise), (breeding.mix_pictures, latents)])
class TestMixing:
    def test_equal_parents_have_themselves_as_a_child(self, mix, parent):
        torch.testing.assert_close(mix([parent(1)] * 3, (0.2, 0.5, 0.3)), parent(1), rtol=1e-4, atol=1e-5)

    def test_a_parent_with_the_whole_weight_comes_back_exactly(self, mix, parent):
        assert torch.equal(mix([parent(1), parent(2)], (3.0, 0.0)), parent(1))
        assert torch.equal(mix([parent(1), parent(2)], (0.0, 0.1)), parent(2))

    def test_only_the_proportion_of_the_weights_counts(self, mix, parent):
        both = [parent(1), parent(2)]
        torch.testing.assert_close(mix(both, (3, 1)), mix(both, (0.75, 0.25)))

    def test_a_child_is_nearer_to_the_parent_with_more_weight(self, mix, parent):
        child = mix([parent(1), parent(2)], (0.8, 0.2))
        assert (child - parent(1)).norm() < (child - parent(2)).norm()

    def test_parents_that_cancel_each_other_out_give_numbers(self, mix, parent):
        opposite = 2 * parent(1).mean((2, 3), keepdim=True) - parent(1) if mix is breeding.mix_pictures else -parent(1)
        child = mix([parent(1), opposite], (0.5, 0.5))
        assert child.isfinite().all()
        assert child.std() < 3

    @pytest.mark.parametrize("weights", [(0, 0), (1, -1), (2, -1), (math.nan, 1), (math.inf, 1)])
    def test_weights_that_mean_nothing_are_refused_by_value(self, mix, parent, weights):
        with pytest.raises(RequestError, match=f"weights are {weights[0]:g}, {weights[1]:g}: they must be 0 or more"):
            mix([parent(1), parent(2)], weights)


@given(SEEDS, WEIGHTS)
def test_mixed_pictures_have_the_weighted_mean_and_contrast_per_channel(seed, weights):
    parents = [latents(seed + n) for n in range(len(weights))]
    mixed = breeding.mix_pictures(parents, weights)
    total = sum(weights)
    for statistic in (means, deviations):
        wanted = sum(w / total * statistic(each) for w, each in zip(weights, parents, strict=True))
        # Where parents happen to oppose each other, a little contrast is lost rather than their differences blown up.
        torch.testing.assert_close(statistic(mixed), wanted, rtol=0.35, atol=1e-4)
    naive = sum(w / total * each for w, each in zip(weights, parents, strict=True))
    assert (deviations(mixed) >= deviations(naive) * 0.999).all()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_mixed_independent_pictures_keep_the_contrast_that_a_plain_average_loses(count):
    parents = [latents(0) * 0 + noise(n) * 1.5 + 2 for n in range(count)]
    mixed = breeding.mix_pictures(parents, [1.0] * count)
    torch.testing.assert_close(deviations(mixed), torch.full((1, 4), 1.5), rtol=0.03, atol=0)
    assert torch.stack(parents).mean(0).std() < 0.75 * 1.5


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
def test_mutated_noise_keeps_its_deviation_and_loses_as_much_likeness_as_asked(share):
    mutated = breeding.mutate_noise(noise(1), noise(2), share)
    assert mutated.std() == pytest.approx(1, rel=0.02)
    likeness = torch.corrcoef(torch.stack([mutated.flatten(), noise(1).flatten()]))[0, 1]
    assert likeness == pytest.approx(math.sqrt(1 - share**2), abs=0.02)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
def test_a_mutated_picture_keeps_mean_and_contrast_per_channel(share):
    mutated = breeding.mutate_picture(latents(1), share, pipelines.generator(2))
    torch.testing.assert_close(means(mutated), means(latents(1)), rtol=0, atol=0.1)
    torch.testing.assert_close(deviations(mutated), deviations(latents(1)), rtol=0.06, atol=0)


def test_no_mutation_changes_nothing_and_a_whole_one_leaves_nothing():
    assert torch.equal(breeding.mutate_noise(noise(1), noise(2), 0), noise(1))
    assert torch.equal(breeding.mutate_noise(noise(1), noise(2), 1), noise(2))
    assert torch.equal(breeding.mutate_picture(latents(1), 0, pipelines.generator(2)), latents(1))


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_a_mutation_that_is_no_share_is_refused_by_value(share):
    with pytest.raises(RequestError, match=f"mutation is {share:g}; it is a share from 0 to 1"):
        breeding.mutate_noise(noise(1), noise(2), share)
    with pytest.raises(RequestError, match=f"mutation is {share:g}"):
        breeding.mutate_picture(noise(1), share, pipelines.generator(2))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return {name: pipelines.tiny(name, root) for name in pipelines.FAMILIES}


def drawn(pipeline, prompt="no parent's words", *, seed=99, **options):
    return pipelines.pixels(pipelines.drawn(pipeline, prompt, seed=seed, width=64, height=64, **options))


def bred(pipeline, *parents, mutation=0.0, seed=99, **options):
    with breeding.crossed(pipeline, parents, mutation=mutation):
        return drawn(pipeline, seed=seed, **options)


MOTHER = Gene(seed=5, prompt="a red apple", negative_prompt="dull")
FATHER = Gene(seed=6, prompt="a green pear on a plate")
# Z-Image reads each prompt at its own length.
MIXING = tuple(each for each in pipelines.FAMILIES if each != "z-image")
NEGATIVE = {"flux": {"true_cfg_scale": 2.0}}


@pytest.mark.parametrize("family", MIXING)
def test_a_single_parent_without_mutation_has_itself_as_a_child(tiny, family):
    itself = drawn(tiny[family], MOTHER.prompt, seed=5, negative_prompt="dull", **NEGATIVE.get(family, {}))
    child = bred(tiny[family], MOTHER, negative_prompt="another", **NEGATIVE.get(family, {}))
    np.testing.assert_array_equal(child, itself)
    np.testing.assert_array_equal(
        bred(tiny[family], Gene(seed=1, prompt="-", weight=0), FATHER), drawn(tiny[family], FATHER.prompt, seed=6)
    )


@pytest.mark.parametrize("family", MIXING)
def test_every_call_in_the_block_breeds_the_same_child(tiny, family):
    options = {"negative_prompt": "another"} | NEGATIVE.get(family, {})
    with breeding.crossed(tiny[family], (MOTHER, FATHER)):
        first, second = (drawn(tiny[family], **options) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("family", MIXING)
def test_a_child_of_two_starts_from_unit_noise_and_is_neither_of_them(tiny, family, monkeypatch):
    pipeline, started = tiny[family], []
    denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    forward = denoiser.forward

    def watch(*arguments, **options):
        given = options.get("hidden_states", arguments[0] if arguments else None)
        started.append(given)
        return forward(*arguments, **options)

    monkeypatch.setattr(denoiser, "forward", watch)
    plain = (drawn(pipeline, MOTHER.prompt, seed=5), drawn(pipeline, FATHER.prompt, seed=6))
    plain_start = started[0].std()
    started.clear()
    child = bred(pipeline, MOTHER, FATHER, mutation=0.2)
    assert all((child != each).any() for each in plain)
    assert started[0].std() == pytest.approx(float(plain_start), rel=0.15)


@pytest.mark.parametrize("family", MIXING)
def test_children_differ_by_their_seeds_as_soon_as_they_mutate(tiny, family):
    first, second = (bred(tiny[family], MOTHER, FATHER, mutation=0.2, seed=seed) for seed in (1, 2))
    assert (first != second).any()
    first, second = (bred(tiny[family], MOTHER, FATHER, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_a_grandchild_inherits_from_the_child_as_it_was_drawn(tiny, family):
    child = bred(tiny[family], MOTHER, FATHER, mutation=0.3, seed=7)
    gene = Gene(seed=7, prompt="joint words", parents=(MOTHER, FATHER), mutation=0.3)
    np.testing.assert_array_equal(bred(tiny[family], gene), child)


def test_an_equal_parents_prompt_is_the_prompt_itself(tiny):
    pipeline = tiny["sd"]
    twin = Gene(seed=6, prompt=MOTHER.prompt, negative_prompt="dull")
    with breeding.crossed(pipeline, (MOTHER, twin)):
        mixed = pipeline.encode_prompt("-", "cpu", 1, True, "-")
    plain = pipeline.encode_prompt(MOTHER.prompt, "cpu", 1, True, "dull")
    for found, wanted in zip(mixed, plain, strict=True):
        assert torch.equal(found, wanted)


def test_mixed_prompts_lie_between_and_what_is_not_asked_for_stays_none(tiny):
    pipeline = tiny["sd"]
    with breeding.crossed(pipeline, (MOTHER, Gene(seed=6, prompt="b", weight=3))):
        mixed, negative = pipeline.encode_prompt("-", "cpu", 1, False)
    first, second = (pipeline.encode_prompt(each, "cpu", 1, False)[0] for each in (MOTHER.prompt, "b"))
    torch.testing.assert_close(mixed, 0.25 * first + 0.75 * second)
    assert negative is None


class Variable:
    """A pipeline whose prompts are as long as their text."""

    def encode_prompt(self, prompt):
        return torch.ones(1, len(prompt), 2), None

    def prepare_latents(self, generator=None):
        return torch.randn(4, generator=generator)


def test_prompts_of_different_lengths_are_refused_in_words():
    pipeline = Variable()
    genes = (Gene(seed=1, prompt="abc"), Gene(seed=2, prompt="abcde"))
    with breeding.crossed(pipeline, genes), pytest.raises(RequestError, match=r"different lengths \(3, 5\)"):
        pipeline.encode_prompt("-")
    assert vars(pipeline) == {}
