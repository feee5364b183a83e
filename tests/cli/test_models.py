import json

import pytest

from imggen.cli import models, precedence
from imggen.tasks import doctor
from imggen.tasks.doctor import Finding


def test_presets_are_listed_and_shown(run):
    ended = run("presets", "list")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.lines] == ["contact", "draft", "icon", "web"]
    shown = run("presets", "show", "icon")
    assert "  aspect = '1:1'" in shown.lines
    facts = json.loads(run("presets", "show", "icon", "--json").out)
    assert facts["settings"] == {"aspect": "1:1", "num_images": 1, "format": "png", "metadata": "minimal"}


def test_the_users_own_presets_are_listed_too(run, monkeypatch, tmp_path):
    for name in ("XDG_CONFIG_HOME", "HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    folder = precedence.config_folder() / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('description = "Mine."\nsteps = 3\n')
    listed = [json.loads(line) for line in run("presets", "list", "--json").lines]
    assert {
        "name": "mine",
        "description": "Mine.",
        "path": str(folder / "mine.toml"),
        "settings": {"steps": 3},
    } in listed


def test_an_unknown_preset_gets_the_nearest(run):
    ended = run("presets", "show", "ikon")
    assert ended.code == 2
    assert "icon" in ended.err


def test_models_are_listed_and_described(run):
    listed = [json.loads(line) for line in run("models", "list", "--json").lines]
    assert listed[0]["reference"] == "builtin"
    assert run("models", "list").lines[0].split()[:2] == ["builtin", "builtin"]
    facts = json.loads(run("models", "show", "builtin", "--json").out)
    for group in ("objects", "shapes", "colors", "backgrounds"):
        assert facts["vocabulary"][group]
    lines = run("models", "show", "builtin").lines
    assert any(line.startswith("  objects (") for line in lines)
    assert max(map(len, lines)) <= 160


def test_an_unknown_model_exits_with_4(run):
    ended = run("models", "show", "no/such-model", "--offline")
    assert (ended.code, ended.out) == (4, b"")
    assert "no/such-model" in ended.err


def test_the_doctor_tells_what_it_found_and_what_it_would_choose(run):
    ended = run("doctor")
    assert ended.code == 0
    text = ended.out.decode()
    for words in ("machine", "choices", "torch", "builtin"):
        assert words in text
    found = [json.loads(line) for line in run("doctor", "--json").lines]
    assert {"machine", "choices", "packages"} <= {each["section"] for each in found}


def test_the_doctor_needs_one_screen_and_tells_of_every_family_where_asked(run):
    ended = run("doctor")
    assert len(ended.lines) + len(ended.err.splitlines()) <= 22
    assert "sdxl" not in ended.out.decode()
    whole = run("doctor", "-v")
    assert len(whole.lines) > 60
    assert any("sdxl: " in line for line in whole.lines)
    assert whole.err == ""


def test_the_doctor_shows_problems_and_extras_without_verbose(run, monkeypatch):
    findings = [
        Finding(section="choices", name="sd", value="cpu, float32, more", reason="so"),
        Finding(section="choices", name="flux", value="needs 9 GiB", status="note"),
        Finding(section="choices", name="kolors", value="cannot be planned", status="problem"),
        Finding(section="packages", name="numpy", value="missing", status="problem", hint="pip install numpy"),
        *(
            Finding(section="packages", name=f"imggen[{extra}]", value="x", status="note", hint="pip install x")
            for extra in ("gguf", "upscale")
        ),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    text = run("doctor").out.decode()
    assert "  1 family: cpu, float32\n" in text
    assert "- 1 family: too large for this machine\n" in text
    assert "! kolors: cannot be planned\n" in text
    assert "! numpy: missing\n" in text
    assert "pip install 'imggen[gguf,upscale]'\n" in text


@pytest.mark.parametrize(
    ("finding", "lines"),
    [
        (Finding(section="machine", name="a", value="b"), ["machine    a: b"]),
        (
            Finding(section="machine", name="a", value="b", reason="c", status="note"),
            ["machine  - a: b (c)"],
        ),
        (
            Finding(section="machine", name="a", value="b", status="problem", hint="d"),
            ["machine  ! a: b", "               d"],
        ),
    ],
)
def test_problems_are_marked_and_carry_their_hint(finding, lines):
    assert list(models._examined([finding])) == lines


def test_fix_hints_with_nothing_to_mend_say_so(run, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: iter([Finding(section="machine", name="b", value="c")]))
    ended = run("doctor", "--fix-hints")
    assert (ended.code, ended.lines, ended.err) == (0, [], "note: there is nothing to mend\n")


def test_fix_hints_are_commands_alone_and_end_well(run, monkeypatch):
    bad = Finding(section="packages", name="a", value="missing", status="problem", hint="pip install a")
    monkeypatch.setattr(doctor, "examine", lambda: iter([bad, Finding(section="machine", name="b", value="c")]))
    ended = run("doctor", "--fix-hints")
    assert (ended.code, ended.lines, ended.err) == (0, ["pip install a"], "")
    assert json.loads(run("doctor", "--fix-hints", "--json").out) == {"command": "pip install a"}
    assert run("doctor").code == 5
