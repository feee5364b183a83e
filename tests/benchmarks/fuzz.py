"""Fuzz everything that reads strangers' bytes, guided by coverage; print a table.

    pip install atheris==3.0.0
    python tests/benchmarks/fuzz.py [--target NAME]... [--runs 100000] [--seconds 60] [--findings DIR]

Each target runs in a process of its own. A finding is an exception that is no documented error, an execution of more
than 5 seconds, a process that grows by more than 200 MB, a picture that a change of its metadata altered, or a file
that does not read any more after such a change; its bytes are kept in DIR and the process ends with it.
`signature` goes through the C2PA SDK, whose native code is not instrumented: there only seeds are changed.
"""

# ruff: noqa: E402 - the parsers are instrumented as they are imported, so they come first

import argparse
import contextlib
import json
import re
import resource
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "output")]

try:
    import atheris
except ImportError:
    raise SystemExit("atheris is not installed: pip install atheris==3.0.0") from None

with atheris.instrument_imports(include=["imggen.output", "imggen.plan"], enable_loader_override=False):
    from imggen.output.formats import container, exif, xmp
    from imggen.output.formats.carriers import Changes
    from imggen.output.governance import audit
    from imggen.output.metadata import comfyui, dialects, infotext, metadata, stripping
    from imggen.output.metadata.dialects import Clues
    from imggen.output.provenance import signing
    from imggen.plan.policy import policy, safe_regex
    from imggen.plan.schema import recipe

import recipes
import samples
import signers

from imggen.errors import CheckError, RequestError
from tests.output.metadata import test_dialects

SECONDS, MEGABYTES, LONGEST = 5, 200, 1 << 15
MEMORY = Path("/dev/shm")
SAID = metadata.Metadata(
    infotext="a pear\nSteps: 4, Seed: 1, Size: 8x8",
    properties={metadata.SOURCE_TYPE: metadata.GENERATED, metadata.PROMPT: "a pear"},
    tags={"Software": "imggen"},
)
TEXTS = (
    *("parameters", "imggen", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Dream", "Comment", "Software"),
    *("Description", "Source", "fooocus_scheme", "use_stable_diffusion_model", "negative_prompt"),
)
TAGS = ("UserComment", "ImageDescription", "Make", "Model")
PROPERTIES = ("imggen:Recipe", "sdcpp:parameters", "exif:UserComment")
PLACES = (*TEXTS, *TAGS, *PROPERTIES, "")
FAULTY = (RequestError,)


def picture(data: bytes) -> None:
    try:
        facts = metadata.read(data)
    except FAULTY:
        return
    changes = (
        lambda: metadata.embed(data, SAID).data,
        lambda: metadata.embed(data, stripping.of_prompt(facts)).data,
        lambda: container.replace(data, stripping.of_all(facts)),
    )
    for change in changes:
        try:
            changed = change()
        except FAULTY:
            continue
        if container.read(changed).image_sha256 != facts.picture.image_sha256:
            raise AssertionError("the picture was changed")


def png(data: bytes) -> None:
    picture(data)
    mended = with_checksums(data)
    if mended != data:
        picture(mended)


def with_checksums(data: bytes) -> bytes:
    """Return the PNG with checksums that are right, which chance would not find."""
    made, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            break
        made[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(made)


def camera(data: bytes) -> None:
    for do in (
        lambda: exif.read(data),
        lambda: exif.merge(data, {"UserComment": "a pear", "Software": "imggen", "Artist": None}),
        lambda: exif.density(data),
        lambda: exif.resized(data, 64, 48),
    ):
        tried(do)
    block = tried(lambda: exif.merge(data, {"UserComment": "a pear", "Artist": None}))
    if block is not None and exif.read(block).get("UserComment") != "a pear":
        raise AssertionError("what was merged is not read")


def packet(data: bytes) -> None:
    tried(lambda: xmp.read(data))
    step = {"stEvt:action": "edited"}
    made = tried(
        lambda: xmp.merge(data, {metadata.PROMPT: "a pear", metadata.CREDIT: None}, added={metadata.HISTORY: step})
    )
    if made is not None and xmp.read(made)[metadata.PROMPT] != "a pear":
        raise AssertionError("what was merged is not read")


def tried(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except FAULTY:
        return None


def lines(data: bytes) -> None:
    text = decoded(data)
    infotext.parse(text)
    if infotext.parse(f"{infotext.neutralised(text)}\nSteps: 4, Seed: 77, Size: 8x8").settings["Seed"] != "77":
        raise AssertionError("a prompt forged a field")


def record(data: bytes) -> None:
    read = tried(lambda: recipe.parse(decoded(data)))
    if read is not None and recipe.parse(read.to_json()) != read:
        raise AssertionError("a recipe is not read as it was")


def graph(data: bytes) -> None:
    read = comfyui.parse(decoded(data))
    if read is not None:
        comfyui.texts(read)
        comfyui.settings(read)


def dialect(data: bytes) -> None:
    """Read texts from where the byte before each says that they stand; a NUL ends one."""
    clues: dict[str, str] = {}
    for part in data.split(b"\0"):
        if part:
            clues[PLACES[part[0] % len(PLACES)]] = decoded(part[1:])
    found = dialects.read(
        Clues(
            texts={name: text for name, text in clues.items() if name in TEXTS},
            tags={name: text for name, text in clues.items() if name in TAGS},
            properties={name: text for name, text in clues.items() if name in PROPERTIES},
            comments=(clues[""],) if "" in clues else (),
        )
    )
    if found is not None:
        json.dumps(found.settings, allow_nan=False)


def rules(data: bytes) -> None:
    read = tried(lambda: policy.parse(decoded(data), subject="the policy"))
    if read is not None:
        policy.check_prompt(read, "a red apple in Example Town, (ripe:1.2)" * 3)


def pattern(data: bytes) -> None:
    text = decoded(data)
    made = tried(lambda: safe_regex.compile(text))
    if made is not None:
        with contextlib.suppress(safe_regex.UnfinishedError):
            list(safe_regex.spans(made, text + "aaaaaaaaaa 0000000000 " * 20))


def log(data: bytes) -> None:
    LOG.write_bytes(data)
    checked = audit.verify(LOG)
    for look in (audit.find, audit.find_mark):
        look(LOG, "ab" * 32)
    try:
        audit.check_writable(LOG)
    except (RequestError, CheckError):
        return
    if checked.first_bad is None and data and checked.lines == 0:
        raise AssertionError("bytes that are no line passed for a log")


def signature(data: bytes) -> None:
    signing.read(data, container.format_of(data) or "jpeg")


def decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is called, what it begins with, and how often it is called unless `--runs` says."""

    read: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    runs: int


def pictures(kind: str) -> list[bytes]:
    plain = [data for name, data in samples.samples().items() if name.startswith(kind)]
    said = metadata.compose(
        replace(recipes.APPLE, prompt="a red apple, on a table"),
        level="full",
        created=signers.statement().when,
        image_sha256="0" * 64,
    )
    told = [metadata.embed(data, said).data for data in plain[:2]]
    copied = [container.replace(plain[0], Changes(exif=samples.camera(), xmp=samples.FOREIGN))]
    if kind == "png":
        texts = (
            (b"zTXt", b"Comment\0\0" + zlib.compress(b"{}")),
            (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"{}")),
        )
        copied += [samples.with_chunk(plain[0], name, payload) for name, payload in texts]
    return [*plain, *told, *copied, *signed(kind)]


def signed(*kinds: str) -> list[bytes]:
    who, _ = signers.identity()
    return [signing.sign(signers.picture(kind), kind, signers.statement(), who) for kind in kinds]


def blocks() -> list[bytes]:
    own = exif.merge(None, {"UserComment": "a red apple\nSteps: 4, Seed: 1", "Software": "imggen", "Orientation": 6})
    return [samples.camera("MM"), samples.camera("II"), own, exif.merge(samples.camera(), {"UserComment": "a pear"})]


def packets() -> list[bytes]:
    own = xmp.merge(None, {metadata.PROMPT: "a red apple", metadata.ALT: "An apple", "dc:creator": ("A", "B")})
    step = {"stEvt:action": "saved", "stEvt:parameters": "x"}
    return [samples.FOREIGN, own, xmp.merge(own, {}, added={metadata.HISTORY: step})]


def told_lines() -> list[bytes]:
    return [
        test_dialects.A1111.encode(),
        infotext.write(recipes.APPLE).encode(),
        infotext.write(recipes.CHILD).encode(),
    ]


def graphs() -> list[bytes]:
    nodes = {
        "1": {
            "class_type": "KSampler",
            "inputs": {"seed": 1, "steps": 4, "cfg": 7.5, "positive": ["2", 0], "negative": ["3", 0]},
        },
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ["4", 0], "clip": ["1", 0]}},
        "3": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["2", 0]}},
        "4": {"class_type": "String", "inputs": {"value": "a red apple"}},
        "5": {"class_type": "SamplerCustom", "inputs": {"guider": ["2", 0], "sigmas": ["1", 0], "model": ["2", 1]}},
    }
    return [json.dumps(nodes).encode(), json.dumps(dict(list(nodes.items())[1:])).encode()]


def clues() -> list[bytes]:
    held = [
        ("parameters", test_dialects.A1111),
        ("parameters", '{"sui_image_params": {"prompt": "a", "seed": 1, "resolution": "8x9"}}'),
        ("Comment", '{"base_model": "m", "styles": [], "metadata_scheme": "fooocus", "prompt": "a"}'),
        ("Comment", '{"uc": "b", "scale": 5, "prompt": "a", "seed": 3}'),
        ("imggen", recipes.CHILD.to_json()),
        ("invokeai_metadata", '{"positive_prompt": "a", "model": {"name": "m", "hash": "h"}, "width": 8}'),
        ("sd-metadata", '{"image": {"prompt": [{"prompt": "a [b]"}], "seed": 1}, "model_weights": "m"}'),
        ("Dream", '"a red apple [b]" -s 50 -S 42 -W 8 -H 8 -C 7.5 -A k_lms'),
        ("use_stable_diffusion_model", "m"),
        ("UserComment", '{"mflux_version": "1", "prompt": "a", "steps": 4}'),
        ("exif:UserComment", '{"c": "a", "uc": "b", "size": "8x9", "sampler": "s"}'),
        ("sdcpp:parameters", "a\nSteps: 4, Seed: 1, Size: 8x8, SDCPP: {}"),
        ("", 'a\nSteps: 4, Seed: 1, Size: 8x8, Civitai resources: [{"type":"checkpoint","modelName":"m"}], Model: x'),
        ("Model", "prompt: " + graphs()[0].decode()),
    ]
    return [bytes((PLACES.index(name) or len(PLACES),)) + text.encode() for name, text in held]


def policies() -> list[bytes]:
    own = 'schema = 1\n[prompt]\ndeny = ["word", "re:a{1,3}b"]\nallow = ["re:(a|b)c"]\n[audit]\nlog = "a"\n'
    example = (ROOT / "presets/policy/example.toml").read_text()
    uncommented = re.sub(r"^# ?(?=[\[\w]+.*[\]=])", "", example, flags=re.MULTILINE)
    return [own.encode(), example.encode(), uncommented.encode()]


def sources() -> list[bytes]:
    return [rb"a{1,3}[b-d]?(e|f)\b", rb"(?:x|[^\d\s]{0,4})y$", rb"^\W\.\-[a\]]{2}", "\u00e9{,3}(a?){2,5}".encode()]


def logs() -> list[bytes]:
    LOG.unlink(missing_ok=True)
    made = audit.Output(path="a.png", sha256="ab" * 32, watermark="ab" * 6)
    audit.append(LOG, audit.AuditEntry(decision="allow", action="generate", output=made, marks=("iptc",)))
    audit.append(LOG, audit.AuditEntry(decision="deny", action="generate", rule="prompt.deny[0]", reason="word"))
    whole = LOG.read_bytes()
    LOG.write_bytes(whole[:-40])
    audit.append(LOG, audit.AuditEntry(decision="deny", action="generate"))
    return [whole, whole[:-40], LOG.read_bytes()]


def of_pictures(kind: str, read: Callable[[bytes], None] = picture) -> Target:
    return Target(read=read, seeds=lambda: pictures(kind), runs=60_000)


LOG = Path(tempfile.gettempdir()) / "none"
TARGETS = {
    "png": of_pictures("png", png),
    "jpeg": of_pictures("jpeg"),
    "webp": of_pictures("webp"),
    "avif": of_pictures("avif"),
    "tiff": of_pictures("tiff"),
    "exif": Target(read=camera, seeds=blocks, runs=150_000),
    "xmp": Target(read=packet, seeds=packets, runs=60_000),
    "infotext": Target(read=lines, seeds=told_lines, runs=150_000),
    "recipe": Target(
        read=record, seeds=lambda: [each.to_json().encode() for each in (recipes.APPLE, recipes.CHILD)], runs=150_000
    ),
    "comfyui": Target(read=graph, seeds=graphs, runs=150_000),
    "dialects": Target(read=dialect, seeds=clues, runs=100_000),
    "policy": Target(read=rules, seeds=policies, runs=60_000),
    "patterns": Target(read=pattern, seeds=sources, runs=150_000),
    "audit": Target(read=log, seeds=logs, runs=50_000),
    "signature": Target(read=signature, seeds=lambda: signed(*signers.FORMATS), runs=50_000),
}


def main() -> None:
    options = parsed()
    if options.child:
        fuzz(options.child, options)
        return
    options.findings.mkdir(parents=True, exist_ok=True)
    print(
        "| target | executions | executions/s | findings | memory above start, MB |\n|---|---|---|---|---|", flush=True
    )
    total = found = 0
    for name in options.target or TARGETS:
        executed, findings, text = ran(name, options)
        total += executed
        found += findings
        print(text, flush=True)
    print(f"| total | {total:,} | | {found} | |")
    sys.exit(found > 0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one; may be repeated")
    parser.add_argument("--runs", type=int, help="executions per target")
    parser.add_argument("--seconds", type=int, default=0, help="most seconds per target")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for what is found")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def ran(name: str, options: argparse.Namespace) -> tuple[int, int, str]:
    """Run one target in a process of its own; return how often it was called, what was found, and its row."""
    passed = ["--runs", str(options.runs or TARGETS[name].runs), "--seconds", str(options.seconds)]
    command = [sys.executable, __file__, "--child", name, *passed, "--findings", str(options.findings)]
    before = set(options.findings.iterdir())
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        command += ["--folder", folder]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    new = set(options.findings.iterdir()) - before
    findings = max(len(new), done.returncode != 0)
    if findings:
        (options.findings / f"{name}.txt").write_text(done.stdout + done.stderr)
    figures = dict(re.findall(r"(?:stat::)?(\w+): +(\d+)", done.stderr[-4000:] + done.stdout))
    executed = int(figures.get("number_of_executed_units", 0))
    grown = int(figures.get("peak_rss_mb", 0)) - int(figures.get("began_mb", 0))
    return (
        executed,
        findings,
        f"| {name} | {executed:,} | {figures.get('average_exec_per_sec', '?')} | {findings} | {grown} |",
    )


def fuzz(name: str, options: argparse.Namespace) -> None:
    global LOG  # noqa: PLW0603 - the one file that the audit log's target reads
    LOG = options.folder / "audit.jsonl"
    # A line that is being written is waited for, which is nothing to be measured here.
    audit._WRITING_SECONDS = 0
    corpus = options.folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(TARGETS[name].seeds()):
        (corpus / str(number)).write_bytes(seed)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"began_mb: {began}", flush=True)
    flags = [
        *(f"-runs={options.runs}", f"-max_total_time={options.seconds}", f"-max_len={LONGEST}"),
        *(f"-timeout={SECONDS}", f"-rss_limit_mb={began + MEGABYTES}", "-print_final_stats=1"),
        *(f"-artifact_prefix={options.findings}/{name}-", "-verbosity=1", "-seed=1", str(corpus)),
    ]
    atheris.Setup([sys.argv[0], *flags], TARGETS[name].read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
