"""What measures depth, before torch sees it: where it lies, what it is, and how it wants to see a picture."""

from pathlib import Path
from typing import Final

from imggen.errors import ModelError
from imggen.plan.adapters import depths
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.progress import Report, ignore
from imggen.store import adapter_files, json_files, remote_code
from imggen.store.adapter_files import CONFIG, PROCESSOR
from imggen.store.weights import AccessRules

# Names that one way of reading pictures has had in its files; the last is from before there were others.
_PROCESSORS: Final = ("DPTImageProcessor", "DPTImageProcessorFast", "DPTImageProcessorPil", "DPTFeatureExtractor")


def find(asked: AdapterRequest, *, terms: AccessRules, on_event: Report = ignore) -> AdapterFacts:
    """Return the facts of the weights that are asked for, found or fetched as an adapter's are.

    Raise ModelError for what is missing, damaged, a pickle where `terms` do not permit it, or no network that measures
    what control pictures show.
    """
    facts = adapter_files.find(asked, terms=terms, on_event=on_event)
    folder = facts.files[0].parent
    class_name = depths.check(facts)
    processor = _processor(facts, folder)
    remote_code.refuse(folder, class_name, {CONFIG: facts.config, PROCESSOR: processor})
    return facts


def _processor(facts: AdapterFacts, folder: Path) -> dict[str, object]:
    """Return the config of the image processor; raise ModelError for one that imggen does not know."""
    what = f"{facts.asked.option} {facts.asked.reference}"
    if not (folder / PROCESSOR).is_file():
        raise ModelError(
            f"{what} does not say how it reads a picture: it has no {PROCESSOR}", hint="fetch the whole of it again"
        )
    config = json_files.read(folder / PROCESSOR)
    name = config.get("image_processor_type") or config.get("feature_extractor_type")
    if name not in _PROCESSORS:
        raise ModelError(
            f"{what} reads pictures by {name}; imggen knows {_PROCESSORS[0]}", hint=f"{depths.OPTION} {depths.USUAL}"
        )
    depths.check_reading(facts.asked, config)
    return config
