from dataclasses import replace

import pytest
from huggingface_hub import constants

from imggen.host import probe
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.plan.schema.machine import Accelerator
from imggen.store import aliases
from imggen.tasks import doctor
from imggen.tasks.doctor import Finding

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


def test_a_package_that_one_family_needs_is_noted_and_its_command_told():
    found = list(doctor.packages((VERSIONS | {"sentencepiece": "missing", "torchvision": "missing"}).__getitem__))
    assert [(each.name, each.status) for each in found if each.status != "ok"] == [("sentencepiece", "note")]
    assert list(doctor.fixes(found)) == ["pip install sentencepiece"]


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


REQUIREMENTS = [
    "torch>=2.9",
    'spandrel<0.5,>=0.4; extra == "upscale"',
    'bitsandbytes>=0.48 ; extra == "quantize"',
    'torchao>=0.15; extra == "quantize"',
    'ruff>=0.9; extra == "dev"',
]


def test_extras_that_are_not_there_are_told_with_what_they_are_for():
    found = list(doctor.extras(REQUIREMENTS, lambda name: "1.0" if name == "torchao" else "missing"))
    assert [(each.name, each.value, each.status) for each in found] == [
        ("imggen[quantize]", "bitsandbytes not installed", "note"),
        ("imggen[upscale]", "spandrel not installed", "note"),
    ]
    assert found[1].hint == "pip install 'imggen[upscale]'"
    assert "upscalers" in found[1].reason


def test_downloads_that_were_cut_short_and_damaged_aliases_are_told(here, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    blobs = tmp_path / "models--org--part" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("a" * 64 + ".incomplete")).write_bytes(b"12345")
    aliases.path().parent.mkdir(parents=True)
    aliases.path().write_text("{")
    findings = examine(here)
    found = named(findings, "org/part")
    assert (found.status, found.hint) == ("note", "imggen models pull org/part")
    assert named(findings, "aliases").status == "problem"
    assert "imggen models pull org/part" in doctor.fixes(findings)


def test_only_commands_that_mend_what_is_marked_are_given():
    def finding(status, hint):
        return Finding(section="packages", name="a", value="b", status=status, hint=hint)

    given = doctor.fixes(
        [
            finding("problem", "pip install diffusers"),
            finding("note", "pip install 'imggen[control]'"),
            finding("problem", "pip install diffusers"),
            finding("ok", "imggen keys init"),
            finding("note", "imggen models list, then imggen models rm REF"),
            finding("problem", "install the torch build for your driver: https://pytorch.org/get-started/locally/"),
            finding("problem", "chmod 600 /keys/signing.key"),
            finding("problem", None),
        ]
    )
    assert list(given) == [
        "pip install diffusers",
        "pip install 'imggen[control]'",
        "chmod 600 /keys/signing.key",
    ]
