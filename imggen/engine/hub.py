"""The Hugging Face hub: what its cache on this machine holds, and how more gets into it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, scan_cache_dir, snapshot_download
from huggingface_hub.errors import (
    CacheNotFound,
    GatedRepoError,
    HFValidationError,
    HTTPError,  # the HTTP library's own, which changed between huggingface_hub 1 and 2
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from imggen.engine.weights import HALF_VARIANT, PICKLE_SUFFIXES, STEMS, Terms
from imggen.errors import ImggenError, ModelError
from imggen.plan.progress import Progress

TEXT_SUFFIXES = (".json", ".txt", ".model", ".md")
SHARD = re.compile(r"-\d{5}-of-\d{5}")


@dataclass(frozen=True, kw_only=True)
class Cached:
    """A diffusers model in the hub's cache: its id, the commit, where it lies and the bytes that it takes."""

    repository: str
    revision: str
    folder: Path
    size_bytes: int


def place() -> Path:
    """Return the folder of the hub's cache, which HF_HUB_CACHE and HF_HOME move."""
    return Path(constants.HF_HUB_CACHE)


def cached(repository: str, revision: str | None) -> Path | None:
    """Return the folder of the snapshot that the cache has of `repository`, whole or in part, or None."""
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def models() -> list[Cached]:
    """Return the diffusers models in the cache, by id; a snapshot without a `model_index.json` is none."""
    try:
        repositories = scan_cache_dir(place()).repos
    except CacheNotFound:
        return []
    found = [
        Cached(
            repository=each.repo_id,
            revision=revision.commit_hash,
            folder=revision.snapshot_path,
            size_bytes=revision.size_on_disk,
        )
        for each in repositories
        if each.repo_type == "model"
        for revision in each.revisions
        if (revision.snapshot_path / "model_index.json").is_file()
    ]
    return sorted(found, key=lambda each: (each.repository, each.revision))


def fetch(
    repository: str,
    revision: str | None,
    *,
    terms: Terms,
    on_event: Callable[[Progress], None],
    api: HfApi | None = None,
) -> Path:
    """Download what a diffusers pipeline needs of `repository` and return the snapshot's folder.

    Weights come as safetensors, in the `fp16` variant where half precision is wanted and there is one; code,
    single-file checkpoints and other frameworks' weights stay where they are.
    """
    try:
        names = [each.rfilename for each in (api or HfApi()).model_info(repository, revision=revision).siblings or ()]
        files = wanted(names, terms)
        _refuse(repository, names, files, terms)
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=files, tqdm_class=_counter(on_event))
        )
    except (OSError, ValueError, HTTPError) as error:
        raise explained(error, repository, revision) from error


def _refuse(repository: str, names: list[str], files: list[str], terms: Terms) -> None:
    if "model_index.json" not in files:
        raise ModelError(
            f"{repository} on the hub is not a diffusers pipeline: it has no model_index.json",
            hint="imggen models list",
        )
    pickles = sorted(set(wanted(names, replace(terms, allow_pickle=True))) - set(files))
    if pickles:
        raise ModelError(
            f"{repository}: {pickles[0]} is a pickle, which can run any code when read, without a safetensors twin",
            hint="take a model with safetensors weights, or, if you trust this one, add --allow-pickle",
        )


def wanted(names: Iterable[str], terms: Terms) -> list[str]:
    """Return which of a repository's files a pipeline needs: texts, and one set of weights per component folder."""
    paths = [PurePosixPath(each) for each in names]
    texts = [each for each in paths if len(each.parts) <= 2 and each.suffix in TEXT_SUFFIXES]
    folders = sorted({each.parts[0] for each in paths if len(each.parts) == 2})
    weights = [name for folder in folders for name in _weights(paths, folder, terms)]
    return sorted(each.as_posix() for each in (*texts, *weights))


def _weights(paths: list[PurePosixPath], folder: str, terms: Terms) -> list[PurePosixPath]:
    inside = [each for each in paths if each.parts[0] == folder and len(each.parts) == 2]
    by_variant: dict[str, list[PurePosixPath]] = {}
    for each in inside:
        stem, _, variant = SHARD.sub("", each.stem).partition(".")
        if each.suffix == ".safetensors" and stem in STEMS:
            by_variant.setdefault(variant, []).append(each)
    for variant in (HALF_VARIANT, "") if terms.half else ("", HALF_VARIANT):
        if variant in by_variant:
            return by_variant[variant]
    return [each for each in inside if terms.allow_pickle and each.suffix in PICKLE_SUFFIXES]


def explained(error: Exception, repository: str, revision: str | None) -> ImggenError:
    """Return what the hub's `error` means for the user, as a ModelError that says what to do."""
    wanted_revision = f"@{revision}" if revision else ""
    get = f"hf download {repository}" + (f" --revision {revision}" if revision else "")
    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{repository} is gated: its owner wants you to accept a licence first",
            hint=f"accept it at {constants.ENDPOINT}/{repository}, then `hf auth login`, then `{get}`",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{repository} has no revision {revision!r}", hint=f"imggen models show {repository}")
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"the hub has no model {repository!r} that you may see",
            hint="check the spelling; for a private model: hf auth login",
        )
    if isinstance(error, HFValidationError):
        return ModelError(f"{repository + wanted_revision!r} is not a model's id: {error}", hint="imggen models list")
    return ModelError(
        f"{repository}{wanted_revision} could not be fetched from the hub: {error}",
        hint=f"once the network is there: {get}",
    )


def _counter(on_event: Callable[[Progress], None]) -> type[Any]:
    class Counter(tqdm):  # type: ignore[misc]
        """Bytes fetched so far, reported as progress instead of drawn."""

        def __init__(self, *args: Any, **options: Any) -> None:
            # One bar counts bytes on the wire, one bytes on the disk and one files: the second is what people wait for.
            self._bytes = "Reconstructing" in str(options.get("desc"))
            self._done = 0.0
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self._done += n or 0
            if self._bytes:
                on_event(
                    Progress(stage="download", step=int(self._done), steps=max(int(self.total or 0), int(self._done)))
                )

    return Counter
