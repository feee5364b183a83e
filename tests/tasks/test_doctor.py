from dataclasses import replace

import pytest

from imggen.engine import probe
from imggen.output import keys, signing
from imggen.output.keys import Draft
from imggen.plan.machine import Accelerator
from imggen.tasks import doctor

GPU = Accelerator(
    device="cuda", name="Great GPU", total_bytes=80 << 30, free_bytes=70 << 30, capability=(9, 0), bfloat16=True
)


@pytest.fixture(scope="module")
def here():
    return replace(probe.machine(), cpu_bfloat16=False, cpu_reason="a test says so", accelerators=())


def examine(machine):
    return list(doctor.examine(machine=lambda: machine))


def named(findings, name):
    return next(each for each in findings if each.name == name)


def test_every_family_has_a_choice_with_its_reason(here):
    findings = examine(here)
    for family in ("sd", "sdxl", "flux", "flux-schnell"):
        found = named(findings, family)
        assert found.value.startswith("cpu, float32")
        assert "a test says so" in found.reason


def test_an_accelerator_changes_the_choices(here):
    findings = examine(replace(here, accelerators=(GPU,)))
    assert named(findings, "sdxl").value.startswith("cuda, bfloat16")
    assert "Great GPU" in named(findings, "cuda").value


def test_a_gpu_that_torch_cannot_use_is_a_problem(here, monkeypatch):
    monkeypatch.setattr(probe, "has_accelerator", lambda: True)
    found = named(examine(here), "accelerator")
    assert (found.status, here.torch in found.reason) == ("problem", True)


def test_places_and_versions_are_told(here):
    findings = examine(here)
    assert named(findings, "torch").value == here.torch
    assert named(findings, "settings").value.endswith("config.toml")
    assert "free" in named(findings, "models of the hub").value
    assert named(findings, "network").value == "not used"


VERSIONS = dict.fromkeys(doctor.PACKAGES, "1.0")


def packages(**changes):
    return [each for each in doctor.packages((VERSIONS | changes).__getitem__) if each.status == "problem"]


@pytest.mark.parametrize(
    ("torch", "torchvision"),
    [
        ("2.14.1", "0.29.1"),
        ("2.9.0+cu130", "0.24.0+cu130"),
        ("2.9.0", "0.24.0+cpu"),
        ("2.9.0", "missing"),
        ("3.0.0", "0.24.0"),
        ("2.10.0a0", "0.25.0a0"),
    ],
)
def test_a_torchvision_that_fits_or_may_fit_is_no_problem(torch, torchvision):
    assert packages(torch=torch, torchvision=torchvision) == []


@pytest.mark.parametrize(
    ("torch", "torchvision"), [("2.14.1", "0.28.0"), ("2.9.0+cpu", "0.24.0+cu130"), ("2.13.0", "0.29.1")]
)
def test_a_torchvision_of_another_torch_is_a_problem_that_says_what_to_install(torch, torchvision):
    (found,) = packages(torch=torch, torchvision=torchvision)
    assert torch in found.value
    assert found.hint == "pip install --upgrade --force-reinstall torch torchvision"


def test_a_missing_package_says_what_to_install():
    (found,) = packages(diffusers="missing")
    assert (found.name, found.hint) == ("diffusers", "pip install diffusers")


def test_why_pictures_are_signed_or_not_is_told(tmp_path):
    environ = {"IMGGEN_KEYS": str(tmp_path / "keys")}
    found = {each.name: each for each in doctor.signing_state(environ)}
    assert found["keys"].value == "none, so pictures are not signed"
    assert "keys init" in found["keys"].hint
    keys.create(tmp_path / "keys", Draft(organisation="Example Ltd"), check=signing.prove)
    found = {each.name: each for each in doctor.signing_state(environ | {"IMGGEN_POLICY": "/etc/policy.toml"})}
    assert (found["keys"].value, found["policy"].value) == ("Example Ltd", "/etc/policy.toml")
    (tmp_path / "keys" / "own" / "signing.key").chmod(0o644)
    (found,) = doctor.signing_state(environ)
    assert (found.status, "chmod" in found.hint) == ("problem", True)
