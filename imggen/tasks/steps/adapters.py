"""The adapters that a request asks for: allowed by their names, then found, or fetched where that may be."""

from collections.abc import Iterator
from dataclasses import replace

from imggen.errors import ModelError
from imggen.plan.adapters import adaptation, controls, depths, ip_adapters
from imggen.plan.case import COMMAND_LINE
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.progress import Report
from imggen.plan.schema.request import GenerateRequest, ModelFacts
from imggen.store import adapter_files, aliases, depth_files, ip_adapter_files
from imggen.store.weights import AccessRules


def asked(request: GenerateRequest, terms: AccessRules) -> tuple[AdapterRequest, ...]:
    """Return the LoRAs, the learnt words and the autoencoder of `request`; raise for a name that `terms` forbid."""
    return tuple(_allowed(adapter, terms) for adapter in adaptation.asked(request))


def find(
    requested: tuple[AdapterRequest, ...],
    request: GenerateRequest,
    facts: ModelFacts,
    terms: AccessRules,
    on_event: Report,
) -> tuple[AdapterFacts, ...]:
    """Return the facts of what is wanted, and of the weights that read pictures beside the words of `request`."""
    adapters = tuple(_find(adapter, request, terms, on_event) for adapter in requested)
    adapter_files.check_words(adapters, facts)
    return (*adapters, *_beside(request, facts, terms, on_event))


def _find(asked: AdapterRequest, request: GenerateRequest, terms: AccessRules, on_event: Report) -> AdapterFacts:
    try:
        return adapter_files.find(asked, terms=terms, on_event=on_event)
    except ModelError as error:
        origin = request.origin.get(asked.kind, COMMAND_LINE)
        if origin == COMMAND_LINE:
            raise
        raise ModelError(f"{error.message}; {asked.option} comes from the {origin}", hint=error.hint) from error


def _beside(
    request: GenerateRequest, facts: ModelFacts, terms: AccessRules, on_event: Report
) -> Iterator[AdapterFacts]:
    """Yield the weights that read pictures beside the words; which ones are usual, the model's family says."""
    family = catalog.find(facts)
    for adapter in controls.asked(request, family, facts):
        yield adapter_files.find(_allowed(adapter, terms), terms=terms, on_event=on_event)
    depth = depths.asked(request)
    if depth is not None:
        yield depth_files.find(_allowed(depth, terms), terms=terms, on_event=on_event)
    config = facts.configs.get(family.denoiser, {})
    ip_adapter = ip_adapters.asked(request, family, config)
    if ip_adapter is not None:
        target = ip_adapter_files.AdapterTarget(layout=ip_adapters.layout(family), config=config)
        yield ip_adapter_files.find(_allowed(ip_adapter, terms), target, terms=terms, on_event=on_event)


def _allowed(asked: AdapterRequest, terms: AccessRules) -> AdapterRequest:
    """Return what is asked for under its real name; raise where `terms` forbid that."""
    encoder = None if asked.encoder is None else aliases.real(asked.encoder)
    real = replace(asked, reference=aliases.real(asked.reference), encoder=encoder)
    terms.allow(real.reference)
    return real
