"""Where the pictures go and in which form, each with its reason."""

from datetime import date

from imggen.errors import RequestError
from imggen.plan.case import ASKED, COMMAND_LINE, Case
from imggen.plan.generation import words
from imggen.plan.schema import marking
from imggen.plan.schema.change import BASES
from imggen.plan.schema.formats import FORMATS, ImageFormat
from imggen.plan.schema.given import starts
from imggen.plan.schema.request import GeneratePlan, OutputPlan
from imggen.plan.settings import naming
from imggen.plan.settings.naming import Named, NamedAfter


def choose(case: Case, pictures: int) -> tuple[OutputPlan, dict[str, str]]:
    """Return where `pictures` pictures go, and why; raise RequestError for options that contradict each other."""
    request = case.request
    if request.output == naming.STDOUT and pictures > 1:
        message = f"-o - writes one picture to standard output, and {pictures} are asked for"
        raise RequestError(message, hint="-o 'out/{seed}.png'")
    named = None if request.output in (None, naming.STDOUT) else naming.format_of(str(request.output))
    if named and request.format and named != request.format:
        message = f"-o {request.output} names {named} and --format says {request.format}"
        raise RequestError(message, hint="leave --format out")
    chosen = named or request.format or "png"
    quality, quality_reason = _quality(case, chosen)
    level = request.metadata or "full"
    typed = [name for name in vars(request) if case.why(name, "") in (COMMAND_LINE, ASKED)]
    plan = marking.choose(request, metadata=level, typed=typed)
    # A file's name tells the prompt as well as the file does.
    named_by_words = naming.DEFAULT if plan.prompt == "full" else naming.WORDLESS
    usual = "{stem}-{seed}" if starts(case.given) else named_by_words
    output = OutputPlan(
        template=request.output if request.output is not None else usual + FORMATS[chosen].suffix,
        format=chosen,
        quality=quality,
        if_exists=request.if_exists or "auto",
        metadata=level,
        marking=plan,
    )
    reasons = {
        "output": case.why("output", f"{usual} in this folder"),
        "format": "the file's name" if named else case.why("format", "lossless, and read everywhere"),
        "quality": quality_reason,
        "if_exists": case.why("if_exists", "replace what imggen made, keep what it did not"),
        "metadata": case.why("metadata", "so that the picture can be made again"),
        "watermark": case.why("watermark", "marked where a mark is not seen"),
        "sign": case.why("sign", "signed where a key is set up"),
    }
    return output, reasons


def _quality(case: Case, chosen: ImageFormat) -> tuple[int, str]:
    """Return the quality of the file; raise RequestError for a number that its format does not take."""
    quality = case.request.quality
    if quality is None:
        return FORMATS[chosen].quality, f"what suits {chosen}"
    if not 1 <= quality <= 100:
        raise RequestError(f"--quality {quality} is not in 1 to 100", hint=f"--quality {min(max(quality, 1), 100)}")
    origin = case.why("quality", "")
    if not FORMATS[chosen].lossless:
        return quality, origin
    if origin in (COMMAND_LINE, ASKED):
        message = f"--quality {quality}: {chosen} is lossless and has no quality"
        raise RequestError(message, hint="leave --quality out, or --format webp")
    return FORMATS[chosen].quality, f"{chosen} is lossless; the {quality} of the {origin} is for other formats"


def check_names(plan: GeneratePlan) -> None:
    """Raise RequestError for a template that cannot name the pictures, before anything is loaded."""
    if plan.output.template != naming.STDOUT:
        naming.expand(plan.output.template, named(plan, date.min), plan.output.format)


def named(plan: GeneratePlan, today: date) -> list[Named]:
    """Return what a template may say of each picture of `plan`, made on the day `today` (UTC)."""
    start = [naming.stem(picture.name) for picture in plan.given if picture.role in BASES]
    return [_named(plan, index, today, start) for index in range(1, len(plan.seeds) + 1)]


def _named(plan: GeneratePlan, index: int, today: date, stems: list[str]) -> Named:
    plain = Named(
        seed=plan.seeds[index - 1],
        index=index,
        prompt=words.as_read(plan.words(plan.seeds[index - 1])[0], plan.reading),
        model=plan.model.reference,
        width=plan.width,
        height=plan.height,
        steps=plan.steps,
        sampler=plan.sampler,
        date=today,
    )
    return NamedAfter(**vars(plain), stem=stems[0]) if stems else plain
