import pytest

from imggen.errors import MachineError, RequestError
from imggen.plan.memory import dtypes
from imggen.plan.models import catalog
from tests.plan.conftest import laptop, with_cuda, with_mps

SD, FLUX = catalog.named("sd"), catalog.named("flux")


@pytest.mark.parametrize(("machine", "device"), [(laptop(), "cpu"), (with_cuda(), "cuda"), (with_mps(), "mps")])
def test_auto_takes_the_accelerator_that_is_there(machine, device):
    assert dtypes.choose_device(None, machine).value == device
    assert dtypes.choose_device("auto", machine).value == device
    assert dtypes.choose_device("cpu", machine).value == "cpu"


def test_a_device_that_is_not_here_says_what_is():
    with pytest.raises(MachineError, match="no cuda device here; there is cpu"):
        dtypes.choose_device("cuda", laptop())
    with pytest.raises(MachineError, match="there is mps and cpu"):
        dtypes.choose_device("cuda", with_mps())


def test_gpu_is_whichever_accelerator_there_is():
    assert dtypes.choose_device("gpu", with_mps()).value == "mps"


def test_an_unknown_device_gets_the_nearest():
    with pytest.raises(RequestError, match="'cida'") as caught:
        dtypes.choose_device("cida", laptop())
    assert caught.value.hint == "--device cuda"


@pytest.mark.parametrize(
    ("family", "device", "machine", "expected"),
    [
        (SD, "cpu", laptop(), "float32"),
        (SD, "cpu", laptop(cpu_bfloat16=True, cpu_reason="AMX"), "bfloat16"),
        (SD, "cuda", with_cuda(), "bfloat16"),
        (SD, "cuda", with_cuda(bfloat16=False), "float16"),
        (FLUX, "cuda", with_cuda(), "bfloat16"),
        (SD, "mps", with_mps(), "float16"),
        (FLUX, "mps", with_mps(), "bfloat16"),
        (FLUX, "mps", with_mps(bfloat16=False), "float32"),
    ],
)
def test_the_dtype_follows_device_capability_and_family(family, device, machine, expected):
    chosen = dtypes.choose_dtype(None, family, device, machine)
    assert chosen.value == expected
    assert chosen.reason


@pytest.mark.parametrize(("name", "expected"), [("fp32", "float32"), ("BF16", "bfloat16"), ("float32", "float32")])
def test_short_names_of_dtypes_are_known(name, expected):
    assert dtypes.choose_dtype(name, SD, "cpu", laptop()).value == expected


def test_float16_on_a_processor_is_refused_with_what_suits_it():
    with pytest.raises(RequestError, match="--dtype fp16 on cpu") as caught:
        dtypes.choose_dtype("fp16", SD, "cpu", laptop())
    assert caught.value.hint.startswith("--dtype float32")


def test_emulated_bfloat16_is_refused():
    with pytest.raises(RequestError, match="A GPU has no bfloat16"):
        dtypes.choose_dtype("bfloat16", SD, "cuda", with_cuda(bfloat16=False))


def test_an_unknown_dtype_gets_the_nearest():
    with pytest.raises(RequestError) as caught:
        dtypes.choose_dtype("float61", SD, "cpu", laptop())
    assert caught.value.hint == "--dtype float16"


def test_what_makes_no_picture_of_bfloat16_is_computed_otherwise():
    family = catalog.named("ldm")
    assert dtypes.choose_dtype(None, family, "cpu", laptop(cpu_bfloat16=True)).value == "float32"
    chosen = dtypes.choose_dtype(None, family, "cuda", with_cuda())
    assert (chosen.value, "make no picture of bfloat16" in chosen.reason) == ("float16", True)
    for device, machine in (("cpu", laptop(cpu_bfloat16=True)), ("cuda", with_cuda())):
        with pytest.raises(
            RequestError, match=r"--dtype bf16 on .*: the pipelines of Latent Diffusion make no picture"
        ):
            dtypes.choose_dtype("bf16", family, device, machine)
