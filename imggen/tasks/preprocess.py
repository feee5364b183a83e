"""From a photograph to a control picture in a file: lines or depths, and marked as no more than that."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Final

from PIL import Image

import imggen
from imggen.errors import RequestError
from imggen.host import environment
from imggen.inputs import layout, preprocessing
from imggen.output import files
from imggen.output.files import WriteTarget
from imggen.output.formats import container, encoder, xmp
from imggen.output.governance import means as logged
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import metadata
from imggen.plan.adapters import controls, depths
from imggen.plan.policy import policy
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.progress import Progress, ignore
from imggen.plan.schema.request import IfExists, OutputPlan
from imggen.plan.settings import naming
from imggen.store import aliases, depth_files, paths
from imggen.store.weights import AccessRules
from imggen.tasks.steps import given, governance
from imggen.tasks.steps.given import OpenedPicture
from imggen.tasks.steps.governance import Governance

ACTION: Final = "preprocess"
SUFFIX: Final = ".png"


@dataclass(frozen=True, kw_only=True)
class ControlPicture:
    """A control picture: where it went, None for standard output; its bytes; what its user should know."""

    path: Path | None
    data: bytes
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Which model measures depth, None for the usual one, and how it may be had."""

    reference: str | None = None
    offline: bool = False
    allow_pickle: bool = False


USUAL: Final = Weights()


def preprocess(  # noqa: PLR0913 - one for each of the command's options, as far as they go together
    kind: str,
    name: str,
    output: str | None = None,
    *,
    if_exists: IfExists = "auto",
    consent: bool = False,
    weights: Weights = USUAL,
    on_event: Callable[[Progress], None] = ignore,
) -> ControlPicture:
    """Make the control picture of `kind` (canny, depth, tile) of the picture in the file `name`, and write it as PNG.

    It is what `--preprocess` would make at the picture's own size. It carries no recipe and claims no model's work:
    what the picture says of its origin is kept, and its file is named as the source. `output` is a file, `-` for
    standard output, by default the name with the kind behind it. Where the kind takes a model, it is the one that
    `weights` name. Raise RequestError for kinds that imggen cannot make, ModelError for weights that cannot be had, and
    CheckError where the policy refuses.
    """
    kind = _known(kind)
    path = _path(kind, name, output)
    governed = governance.read(None, ACTION)
    means = governed.means()
    if governed.policy is not None:
        means.refuse(policy.check_inputs(governed.policy, given=True, consent=consent))
    opened = given.read(name, "control")
    governance.check_sources(governed, [governance.source_picture(opened, "inputTo")], _OUTPUT)
    governance.check_places(governed, [path])
    measure = _depth(governed, weights, on_event) if kind in controls.MEASURED else _unmeasured(kind, weights)
    image = measure(layout.flatten(opened.image, (0, 0, 0)).convert("RGB"))
    data = _with_record(encoder.encode(image, "png", 100), opened)
    if path is None:
        means.log(_line(naming.STDOUT, data))
        return ControlPicture(path=None, data=data, notes=opened.notes)
    return ControlPicture(path=_written(path, data, if_exists, means), data=b"", notes=opened.notes)


def _unmeasured(kind: str, weights: Weights) -> Callable[[Image.Image], Image.Image]:
    if weights.reference is not None:
        raise RequestError(
            f"{depths.OPTION} {weights.reference}: {kind} pictures take no model", hint="imggen preprocess depth IMAGE"
        )
    return partial(preprocessing.make, kind)


def _depth(
    governed: Governance, weights: Weights, on_event: Callable[[Progress], None]
) -> Callable[[Image.Image], Image.Image]:
    """Return what makes a depth picture; raise for weights that are not there, or that the policy refuses."""
    environment.prepare(offline=weights.offline)
    asked = depths.named(weights.reference)
    real = replace(asked, reference=aliases.real(asked.reference))
    governance.check_name(governed, real.reference)
    terms = AccessRules(offline=weights.offline, allow_pickle=weights.allow_pickle)
    facts = depth_files.find(real, terms=terms, on_event=on_event)
    governance.check_weights(governed, [governance.of_adapter(facts)], governed.entry())

    def measure(image: Image.Image) -> Image.Image:
        # The import waits for all that can be refused without it: torch takes seconds.
        with environment.importing():
            from imggen.engine.vision import depth
        return depth.measure(facts, [image])[0]

    return measure


# No signature and no watermark: those say that a model made it.
_OUTPUT: Final = OutputPlan(template="", format="png", quality=100, if_exists="auto", metadata="full")


def _known(kind: str) -> str:
    name = controls.OTHER_NAMES.get(kind, kind)
    if name in controls.PREPROCESSED:
        return name
    can = ", ".join(controls.PREPROCESSED)
    if name in controls.KINDS:
        raise RequestError(f"imggen cannot make {kind} pictures; it makes {can}", hint="imggen preprocess canny IMAGE")
    guess = nearest(kind, controls.PREPROCESSED) or controls.PREPROCESSED
    raise RequestError(
        f"there is no kind of control {kind!r}; imggen makes {can}", hint=f"imggen preprocess {guess[0]} IMAGE"
    )


def _path(kind: str, name: str, output: str | None) -> Path | None:
    if output == naming.STDOUT:
        return None
    if output is None:
        stem = "picture" if name == given.STDIN else PurePath(name).stem
        return Path(f"{stem}-{kind}{SUFFIX}")
    path = paths.at_home(output)
    if path.suffix.lower() != SUFFIX:
        raise RequestError(
            f"-o {output}: control pictures are written as PNG, which keeps every line", hint=f"-o {path.stem}{SUFFIX}"
        )
    return path


def _with_record(data: bytes, opened: OpenedPicture) -> bytes:
    """Return the file with what is known of it: the program, its picture's hash, and what it was made from."""
    picture = opened.given
    stated = {metadata.SOURCE_TYPE: picture.source_type}
    source = metadata.reference(picture.sha256, picture.role, {"stRef:documentID": picture.guid}, stated)
    properties: dict[str, xmp.Value | None] = {
        metadata.DERIVED: source,
        metadata.IMAGE_HASH: container.read(data).image_sha256,
        # Lines of what a model made are as much its work as they are of a photograph none.
        **({metadata.SOURCE_TYPE: picture.source_type} if picture.source_type else {}),
    }
    tool = f"imggen {imggen.__version__}"
    created = metadata.stamp(metadata.now())
    defaults = {metadata.TOOL: tool, metadata.CREATED: created}
    record = metadata.Metadata(properties=properties, defaults=defaults, tag_defaults={"Software": tool})
    return metadata.embed(data, record).data


def _written(path: Path, data: bytes, if_exists: IfExists, means: WriteContext) -> Path:
    """Put the picture into its file under the policy for names that are taken; return where it went."""

    def log(place: WriteTarget) -> None:
        means.log(_line(str(place.path), data))

    place = files.put(path, data, if_exists, is_own=metadata.is_own, settled=log if means.journal else None)
    return path if place is None else place.path


def _line(path: str, data: bytes) -> logged.LoggedPicture:
    return logged.LoggedPicture(path=path, sha256=hashlib.sha256(data).hexdigest())
