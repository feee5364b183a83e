"""Models in two stages: which prior completes which decoder, and what the two make."""

from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import ModelError
from imggen.plan.models import catalog, priors
from imggen.plan.schema.request import ModelFacts

CASCADE, KANDINSKY = (catalog.named(name) for name in ("stable-cascade", "kandinsky22"))
DECODER = ModelFacts(
    reference="./decoder",
    source="folder",
    folder=Path("decoder"),
    pipeline="StableCascadeDecoderPipeline",
    components={"decoder": ("diffusers", "StableCascadeUNet")},
    configs={"decoder": {"effnet_in_channels": 16}},
    weight_bytes={"decoder": 10},
    pickles=("decoder/x.bin",),
)
PRIOR = ModelFacts(
    reference="org/prior",
    source="hub",
    folder=Path("prior"),
    pipeline="StableCascadePriorPipeline",
    revision="abc",
    components={"prior": ("diffusers", "StableCascadeUNet"), "image_encoder": ("transformers", "CLIP")},
    configs={"prior": {"out_channels": 16}},
    weight_bytes={"prior": 20, "image_encoder": 30},
    stored_dtypes={"prior": "bfloat16"},
    shapes={"prior": {"a": (1,)}},
    pickles=("prior/x.bin", "image_encoder/y.bin"),
)


def test_a_decoder_and_its_prior_make_a_model_without_the_parts_that_nobody_needs():
    model = priors.combine(DECODER, PRIOR, CASCADE)
    assert model.pipeline == "StableCascadeCombinedPipeline"
    assert model.weight_bytes == {"decoder": 10, "prior_prior": 20}
    assert model.components.keys() == {"decoder", "prior_prior"}
    assert model.stored_dtypes == {"prior_prior": "bfloat16"}
    assert model.shapes == {"prior_prior": {"a": (1,)}}
    assert model.pickles == ("decoder/x.bin", "prior_prior/x.bin")
    assert catalog.find(model) == CASCADE


def test_a_prior_for_other_embeddings_is_refused():
    other = replace(PRIOR, configs={"prior": {"out_channels": 4}})
    with pytest.raises(
        ModelError, match=r"decoder\.effnet_in_channels 16, .* prior\.out_channels 4: they do not"
    ) as caught:
        priors.combine(DECODER, other, CASCADE)
    assert caught.value.hint == "--base stabilityai/stable-cascade-prior, or another prior of Stable Cascade"
    priors.combine(DECODER, replace(PRIOR, configs={}), CASCADE)


def test_what_is_no_prior_of_the_family_is_refused():
    priors.check_prior(DECODER, "StableCascadePriorPipeline", "x", CASCADE)
    with pytest.raises(ModelError, match="its base x is no prior of that: it is a KandinskyV22PriorPipeline"):
        priors.check_prior(DECODER, "KandinskyV22PriorPipeline", "x", CASCADE)
    priors.check_prior(DECODER, "anything", "x", catalog.named("sd"))
    with pytest.raises(TypeError, match="sd has one stage"):
        priors.combine(DECODER, PRIOR, catalog.named("sd"))


def test_a_stage_alone_is_refused_with_the_other():
    assert priors.of_decoder("KandinskyV22Img2ImgPipeline") == KANDINSKY
    assert priors.of_decoder("StableCascadePriorPipeline") is None
    with pytest.raises(ModelError, match="p is the prior of Kandinsky 2") as caught:
        priors.refuse_prior("p", "KandinskyV22PriorPipeline")
    assert caught.value.hint == "kandinsky-community/kandinsky-2-2-decoder in its place, with --base p"
    with pytest.raises(ModelError, match="d is the decoder of Kandinsky 2") as caught:
        priors.refuse_decoder("d", "KandinskyV22Pipeline")
    assert caught.value.hint == "--base kandinsky-community/kandinsky-2-2-prior"
    priors.refuse_prior("d", "KandinskyV22Pipeline")
    priors.refuse_decoder("p", "KandinskyV22PriorPipeline")


def test_a_record_and_a_plan_name_the_prior_and_what_it_gives():
    model = priors.combine(DECODER, PRIOR, CASCADE)
    base = {"reference": "org/prior", "revision": "abc", "source": "hub", "from_base": ["prior"]}
    assert priors.summary(model) == {"base": base}
    assert priors.lines(model) == ("base: org/prior@abc (the prior; gives prior)",)
    assert (priors.summary(DECODER), priors.lines(DECODER)) == ({}, ())
