"""The commands about keys: whom pictures are signed as, and whose signatures are trusted."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imggen.cli import console, manual, options
from imggen.cli.options import argument, option
from imggen.errors import CheckError, RequestError

if TYPE_CHECKING:
    from imggen.output.provenance.certificates import Certificate
    from imggen.tasks.keys import Shown, Trusted

keys = manual.group("Set up signing keys, and whose signatures are trusted.")

Organisation = Annotated[str | None, option("--organisation NAME", "Organisation in the certificate: who signs.")]
Years = Annotated[int | None, option("--years N", "Validity of the certificate, in years; 10 by default.")]
Command = Annotated[
    str | None,
    option("--command CMD", "Signing command for a key that is kept elsewhere; it signs its standard input."),
]
Chain = Annotated[Path | None, option("--chain FILE", "Certificate chain of that key (PEM), the root last.")]
Root = Annotated[Path | None, argument("FILE", "A root certificate (PEM or DER).")]
WatermarkFile = Annotated[Path | None, option("--watermark-key FILE", "A watermark key to look for, too.")]
Remove = Annotated[str | None, option("--remove FINGERPRINT", "Remove the trusted root whose fingerprint begins so.")]
RootFile = Annotated[Path | None, option("-o --output FILE", "A new file; standard output by default.")]
KeyFile = Annotated[Path | None, option("--watermark-key FILE", "Write the secret watermark key there instead.")]


@keys.command("init")
@manual.helped
def init(
    organisation: Organisation = None,
    years: Years = None,
    command: Command = None,
    chain: Chain = None,
    as_json: options.Json = False,
) -> None:
    """Create a signing key and a watermark key; existing keys are kept."""
    from imggen.tasks import keys as task

    request = task.InitRequest(organisation=organisation, years=years, command=command, chain=chain)
    shown = task.init(_folder(), request)
    _print(shown, as_json=as_json)
    if not as_json:
        console.note("others trust your signatures after: imggen keys export -o root.pem, imggen keys trust root.pem")


@keys.command("show")
@manual.helped
def show(as_json: options.Json = False) -> None:
    """Show the signing identity and the trusted roots; never a key."""
    console.require_output()
    from imggen.tasks import keys as task

    shown = task.show(_folder())
    _print(shown, as_json=as_json)
    if shown.problems:
        what = "one thing is" if len(shown.problems) == 1 else f"{len(shown.problems)} things are"
        raise CheckError(f"{what} wrong with the keys: {shown.problems[0].message}", hint=shown.problems[0].hint)


@keys.command("trust")
@manual.helped
def trust(
    file: Root = None, watermark_key: WatermarkFile = None, remove: Remove = None, as_json: options.Json = False
) -> None:
    """Trust another's root certificate, or look for their watermark."""
    from imggen.tasks import keys as task

    if sum(choice is not None for choice in (file, watermark_key, remove)) != 1:
        raise RequestError(
            "one thing to trust, or to trust no more, is wanted",
            hint="imggen keys trust root.pem, or --watermark-key FILE, or --remove FINGERPRINT",
        )
    if file is not None:
        _print_trusted(task.trust_root(_folder(), file), as_json=as_json)
    elif watermark_key is not None:
        _print_trusted(task.trust_watermark_key(_folder(), watermark_key), as_json=as_json)
    elif remove is not None:
        gone = task.distrust(_folder(), remove)
        if as_json:
            console.result_json({"removed": gone})
        else:
            console.result(f"not trusted any more: {gone}")


@keys.command("export")
@manual.helped
def export(output: RootFile = None, watermark_key: KeyFile = None) -> None:
    """Write the root certificate that others need to trust your signatures."""
    from imggen.tasks import keys as task

    if output is not None and watermark_key is not None:
        raise RequestError("-o and --watermark-key are two things to write", hint="leave one of the two out")
    if watermark_key is not None:
        fingerprint = task.write_watermark_key(_folder(), watermark_key)
        console.result(str(watermark_key))
        console.note(f"whoever has this key, {fingerprint}, can read, forge and take away your watermark")
    elif output is not None and str(output) != "-":
        task.write_root(_folder(), output)
        console.result(str(output))
    else:
        console.require_output()
        console.result(task.export_root(_folder()).decode("ascii").rstrip("\n"))


def _folder() -> Path:
    from imggen.output.provenance import keys as store

    return store.folder(os.environ)


def _print(shown: "Shown", *, as_json: bool) -> None:
    if as_json:
        console.result_json(_facts(shown))
        return
    for line in _described(shown):
        console.result(console.printable(line))


def _facts(shown: "Shown") -> dict[str, object]:
    return asdict(shown) | {
        "folder": str(shown.folder),
        "certificate": _certificate(shown.certificate),
        "root": _certificate(shown.root),
        "trusted": [_certificate(certificate) for certificate in shown.trusted],
        "watermark_keys": [{"name": name, "fingerprint": fingerprint} for name, fingerprint in shown.watermark_keys],
    }


def _certificate(certificate: "Certificate | None") -> dict[str, object] | None:
    if certificate is None:
        return None
    return asdict(certificate) | {"begins": certificate.begins.isoformat(), "ends": certificate.ends.isoformat()}


def _described(shown: "Shown") -> Iterator[str]:
    """Yield the lines that show the keys, what they sign as, and whom they trust."""
    yield f"folder: {shown.folder}"
    if shown.organisation is None and not shown.problems:
        yield 'no keys are set up: imggen keys init --organisation "Example Ltd"'
    if shown.organisation is not None:
        yield f"organisation: {shown.organisation}, since {shown.created}"
        yield f"signs with: {shown.signs_with}"
    for name, held in (("certificate", shown.certificate), ("root", shown.root)):
        if held is not None:
            yield from _lines(name, held)
    if shown.watermark_key is not None:
        yield f"watermark key: {shown.watermark_key}"
    for root in shown.trusted:
        yield from _lines("trusted", root)
    for name, fingerprint in shown.watermark_keys:
        yield f"trusted watermark key: {name}, {fingerprint}"
    yield from (f"- {note}" for note in shown.notes)
    for problem in shown.problems:
        yield f"! {problem.message}" + (f"\n    {problem.hint}" if problem.hint else "")


def _lines(name: str, certificate: "Certificate") -> Iterator[str]:
    yield f"{name}: {certificate.subject}"
    yield f"  serial {certificate.serial}, from {certificate.begins:%Y-%m-%d} to {certificate.ends:%Y-%m-%d}"
    yield f"  sha256 {certificate.sha256}"


def _print_trusted(trusted: "Trusted", *, as_json: bool) -> None:
    if as_json:
        facts = {"certificate": _certificate(trusted.certificate)}
        console.result_json(asdict(trusted) | facts)
        return
    what = "trusted" if trusted.added else "trusted already"
    lines = _lines(what, trusted.certificate) if trusted.certificate else iter(())
    for line in lines:
        console.result(console.printable(line))
    if trusted.watermark_key is not None:
        console.result(console.printable(f"{what}: the watermark key {', '.join(trusted.watermark_key)}"))
    console.notes(trusted.notes, quiet=False)
