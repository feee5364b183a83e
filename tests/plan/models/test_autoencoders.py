"""What is known of each class of autoencoders."""

import pytest

from imggen.plan.memory import memory
from imggen.plan.models import autoencoders
from imggen.plan.models.autoencoders import AutoencoderKind
from tests.plan.conftest import stable_diffusion

TILING = {"AutoencoderKL", "AutoencoderTiny", "AutoencoderKLFlux2", "AutoencoderKLQwenImage21"}
EXCHANGEABLE = {"AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL"}
WHOLE = {"AsymmetricAutoencoderKL", "VQModel", "PaellaVQModel"}


def those(**wanted):
    return {name for name, row in autoencoders.KINDS.items() if all(getattr(row, key) == wanted[key] for key in wanted)}


def test_the_classes_that_can_do_something_are_these():
    assert those(tiles=True) == TILING
    assert those(exchangeable=True) == EXCHANGEABLE
    assert those(slices=False) == WHOLE
    assert those(scales_latents=True) == {"AutoencoderTiny"}


@pytest.mark.parametrize("class_name", [None, "AutoencoderOfTomorrow"])
def test_of_a_class_that_no_row_names_nothing_but_slicing_is_expected(class_name):
    assert autoencoders.kind(class_name) == AutoencoderKind(tiles=False, slices=True, decode_copies=None)


@pytest.mark.parametrize("class_name", ["AutoencoderKL", "AutoencoderDC"])
def test_a_models_own_class_says_whether_it_decodes_in_tiles(class_name):
    facts = stable_diffusion(components={"vae": ("diffusers", class_name)})
    assert memory.can_tile(facts) == (class_name in TILING)
