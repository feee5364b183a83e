"""The Hugging Face hub: what its cache on this machine holds, and how more gets into it."""

import errno
import glob
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
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

from imggen.errors import ImggenError, MachineError, ModelError
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.progress import Report
from imggen.store import download, pickles, weights
from imggen.store.download import Count, Offer, RemoteFile
from imggen.store.weights import HALF_VARIANTS, PICKLE_SUFFIXES, STEMS, AccessRules

TEXT_SUFFIXES = (".json", ".txt", ".model", ".md", ".jinja")
SHARD = re.compile(r"-\d{5}-of-\d{5}")
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# git itself takes no shorter beginning of a commit.
LEAST_COMMIT = 4
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
FILE = re.compile(r"(?!(.*/)?\.\.?(/|$))[^/\\:\x00-\x1f\x7f][^\\:\x00-\x1f\x7f]*")
# How many names the hub is asked for when one is misspelt, and how alike one must be to be offered.
MANY = 100
LIKE = 0.75


@dataclass(frozen=True, kw_only=True)
class Cached:
    """A diffusers model in the hub's cache: its id, the commit, where it lies and the bytes that it takes.

    `accessed` is when its files were last read, in seconds since 1970, as far as the disk keeps that.
    """

    repository: str
    revision: str
    folder: Path
    size_bytes: int
    accessed: float = 0.0


def place() -> Path:
    """Return the folder of the hub's cache, which HF_HUB_CACHE and HF_HOME move."""
    return Path(constants.HF_HUB_CACHE)


def cached(repository: str, revision: str | None) -> Path | None:
    """Return the folder of the snapshot that the cache has of `repository`, whole or in part, or None."""
    _check_revision(repository, revision)
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _check_revision(repository: str, revision: str | None) -> None:
    """Raise ModelError for a revision that no repository has; it becomes part of a path, and may come from a recipe."""
    if revision is not None and not FILE.fullmatch(revision):
        raise ModelError(
            f"{repository} has no revision {revision!r}: that is no name of a branch, a tag or a commit",
            hint=f"{repository}@main",
        )


def models() -> list[Cached]:
    """Return the diffusers models in the cache, by id; a snapshot without a `model_index.json` is none."""
    try:
        repositories = scan_cache_dir(place()).repos
    except CacheNotFound:
        return []
    cached_models = [model for repo in repositories if repo.repo_type == "model" for model in _models_of(repo)]
    return sorted(cached_models, key=lambda model: (model.repository, model.revision))


def _models_of(repo: Any) -> Iterator[Cached]:
    for revision in repo.revisions:
        if (revision.snapshot_path / "model_index.json").is_file():
            yield Cached(
                repository=repo.repo_id,
                revision=revision.commit_hash,
                folder=revision.snapshot_path,
                size_bytes=revision.size_on_disk,
                accessed=repo.last_accessed,
            )


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What would be deleted from the cache: commits of a model, what that frees, and the act itself."""

    repository: str
    commits: tuple[str, ...]
    freed_bytes: int
    execute: Callable[[], None]


def removal(repository: str, revision: str | None) -> Removal:
    """Return what deleting a model, or one revision of it, would delete; nothing is deleted yet.

    `revision` is a branch, a tag or the beginning of a commit. Raise ModelError where the cache has none of it.
    """
    # As huggingface_hub names it, whose cache may be reached by a link.
    folder = download.place(place().resolve(), repository)
    if not folder.is_dir():
        known = sorted({model.repository for model in models()})
        guess = nearest(repository, known)
        raise ModelError(
            f"{repository} is not in the hub's cache {place()}",
            hint=f"imggen models rm {guess[0]}" if guess else "imggen models list",
        )
    cache = scan_cache_dir(place())
    repository_info = next((repo for repo in cache.repos if repo.repo_path == folder), None)
    if repository_info is None or not repository_info.revisions:
        return _whole(repository, revision, folder)
    commits = _commits(repository_info, revision)
    strategy = cache.delete_revisions(*commits)
    is_all = len(commits) == len(repository_info.revisions)
    partial = sum(path.stat().st_size for path in (folder / "blobs").glob("*.incomplete")) if is_all else 0
    # A snapshot may have links that somebody made to files of their own: the links go, the files stay.
    blobs = frozenset(blob for blob in strategy.blobs if folder in blob.parents)
    files = [file for info in repository_info.revisions if info.commit_hash in commits for file in info.files]
    foreign = {
        file.blob_path: file.size_on_disk
        for file in files
        if folder not in file.blob_path.parents and (is_all or file.blob_path in strategy.blobs)
    }
    chosen = replace(strategy, blobs=blobs)
    return Removal(
        repository=repository,
        commits=commits,
        freed_bytes=strategy.expected_freed_size - sum(foreign.values()) + partial,
        execute=lambda: _delete(repository, chosen.execute, (*chosen.repos, *chosen.snapshots)),
    )


def _whole(repository: str, revision: str | None, folder: Path) -> Removal:
    """Return the removal of all that is there of a model of which huggingface_hub can make no sense."""
    if revision is not None:
        raise ModelError(
            f"{repository} is damaged in the cache, so that its revisions cannot be told apart",
            hint=f"imggen models rm {repository}",
        )
    delete = folder.unlink if folder.is_symlink() else lambda: shutil.rmtree(folder)
    return Removal(
        repository=repository,
        commits=(),
        freed_bytes=0 if folder.is_symlink() else _taken(folder),
        execute=lambda: _delete(repository, delete, (folder,)),
    )


def _delete(repository: str, delete: Callable[[], None], folders: Iterable[Path]) -> None:
    try:
        delete()
    except OSError as error:
        raise MachineError(f"{repository} cannot be deleted: {error.strerror or error}") from error
    # huggingface_hub only logs what it could not delete.
    left = next((folder for folder in folders if os.path.lexists(folder)), None)
    if left is not None:
        raise MachineError(f"{repository} cannot be deleted: {left} stays", hint=f"ls -l {left.parent}")


def _commits(repository_info: Any, revision: str | None) -> tuple[str, ...]:
    commits = {revision_info.commit_hash: revision_info.refs for revision_info in repository_info.revisions}
    if revision is None:
        return tuple(sorted(commits))
    chosen = [commit for commit, refs in commits.items() if revision in refs]
    chosen = chosen or [commit for commit in commits if len(revision) >= LEAST_COMMIT and commit.startswith(revision)]
    if len(chosen) != 1:
        listed = ", ".join(sorted(commits))
        raise ModelError(
            f"{repository_info.repo_id} has no revision {revision!r} here; it has {listed}",
            hint=f"imggen models rm {repository_info.repo_id}@{min(commits)}",
        )
    return tuple(chosen)


def _taken(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def incomplete() -> dict[str, int]:
    """Return the bytes of downloads that were cut short, by model."""
    sizes: dict[str, int] = {}
    for path in place().glob("models--*/blobs/*.incomplete"):
        name = path.parent.parent.name.removeprefix("models--").replace("--", "/")
        with suppress(OSError):
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes


Chooser = Callable[[list[str]], list[str]]
"""Which of a repository's files are wanted, by their names; raises ModelError where they will not do."""

Look = Callable[[Path], None]
"""What looks at a snapshot of which only the descriptions are there; raises where its weights are not wanted."""


def pipeline_files(repository: str, terms: AccessRules) -> Chooser:
    """Return what chooses the files that a diffusers pipeline needs.

    Weights come as safetensors, in the `fp16` variant where half precision is wanted and there is one; code,
    single-file checkpoints and other frameworks' weights stay where they are.
    """

    def choose(names: list[str]) -> list[str]:
        files = wanted(names, terms)
        _refuse(repository, names, files, terms)
        return files

    return choose


def one_file(reference: str, file: str, terms: AccessRules) -> Chooser:
    """Return what chooses one file, and the card beside it that states its licence."""

    def choose(names: list[str]) -> list[str]:
        if file not in names:
            guess = nearest(file, names)
            raise ModelError(
                f"{reference}: the repository has no {file}",
                hint=f"imggen models pull {reference.removesuffix(file)}{guess[0]}" if guess else None,
            )
        if PurePosixPath(file).suffix in PICKLE_SUFFIXES and not terms.allow_pickle:
            raise pickles.refusal(reference)
        return sorted({file, *(name for name in names if name == "README.md")})

    return choose


def ask(repository: str, revision: str | None, *, choose: Chooser, api: HfApi | None = None) -> Offer:
    """Return what the hub has of `repository` now: the commit, and the files that `choose` picks."""
    _check_revision(repository, revision)
    api = api or HfApi()
    with explaining(repository, revision, api=api):
        info = api.model_info(repository, revision=revision, files_metadata=True)
        by_name = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        return Offer(
            repository=repository,
            revision=revision,
            commit=_proper(str(info.sha), COMMIT),
            files=tuple(_file(by_name[name]) for name in choose(list(by_name))),
            place=download.place(place(), repository),
            licence=_licence(info),
            gated=bool(getattr(info, "gated", False)),
        )


def _file(sibling: Any) -> RemoteFile:
    large = getattr(sibling, "lfs", None)
    return RemoteFile(
        name=_proper(sibling.rfilename, FILE),
        size=int(getattr(sibling, "size", None) or 0),
        sha256=_proper(str(large.sha256), SHA256) if large is not None else None,
    )


def _proper(text: str, pattern: re.Pattern[str]) -> str:
    """Return what a hub says, which becomes part of a path; raise ModelError where it leads somewhere else."""
    if not pattern.fullmatch(text):
        raise ModelError(f"{constants.ENDPOINT} names {text!r}, which no hub does", hint="unset HF_ENDPOINT")
    return text


def _licence(info: Any) -> str | None:
    card = getattr(info, "card_data", None)
    for name in ("license", "license_name"):
        # A card says `other` where it gives its own name beside it.
        licence = getattr(card, name, None)
        if isinstance(licence, str) and licence and licence != "other":
            return licence
    tags = (str(tag).partition("license:")[2] for tag in getattr(info, "tags", None) or ())
    return next((tag for tag in tags if tag), None)


def obtain(  # noqa: PLR0913 - what to fetch, and how
    repository: str,
    revision: str | None,
    *,
    choose: Chooser,
    sketch_in: Path | None,
    on_event: Report,
    look: Look | None = None,
) -> Path:
    """Return the snapshot's folder with what `choose` picks, fetched; or a sketch of it in the folder `sketch_in`.

    `look` sees the folder as soon as the descriptions are there; what it raises keeps the weights from being fetched.
    """
    if sketch_in is not None:
        return sketch(repository, revision, choose=choose, folder=sketch_in)
    return bring(ask(repository, revision, choose=choose), on_event=on_event, look=look)


def bring(offer: Offer, *, on_event: Report, look: Look | None = None) -> Path:
    """Download what is offered and return the snapshot's folder; `look` sees it before the weights come.

    What came in an earlier try is gone on with. Raise ModelError where the hub does not give it, MachineError where
    the disk has no room for it.
    """
    download.check_room(offer)
    with explaining(offer.repository, offer.revision, offer=offer):
        return _bring(offer, Count(offer, on_event), look)


def _bring(offer: Offer, count: Count, look: Look | None) -> Path:
    """Fetch the small files, let `look` see them, then fetch the large ones."""
    _name(offer, only_new=True)
    large = [file for file in offer.files if download.is_large(offer, file)]
    small = [file for file in offer.files if file not in large]
    if small:
        # The descriptions first: they tell what a download was for that was cut short.
        described = _snapshot(offer, small)
        if look is not None:
            look(described)
    for file in small:
        count.tell(file.name, file.size)
    download.bring(offer, large, count)
    folder = _snapshot(offer, offer.files)
    _name(offer)
    return folder


def _snapshot(offer: Offer, files: Iterable[RemoteFile], *, cache: Path | None = None) -> Path:
    # A name is none of the patterns that it may look like.
    names = [glob.escape(file.name) for file in files]
    options = {"allow_patterns": names, "tqdm_class": _Silent, "cache_dir": cache or place()}
    return Path(snapshot_download(offer.repository, revision=offer.commit, **options))


class _Silent(tqdm):  # type: ignore[misc]
    """huggingface_hub's bars, not drawn: imggen counts by itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"disable": True})


def _name(offer: Offer, *, only_new: bool = False) -> None:
    """Note which commit the revision stands for, as huggingface_hub does; it reads that where nothing can be asked."""
    revision = offer.revision or constants.DEFAULT_REVISION
    path = offer.place / "refs" / revision
    if revision == offer.commit or (only_new and path.exists()):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(offer.commit)
    fresh.replace(path)


def sketch(repository: str, revision: str | None, *, choose: Chooser, folder: Path) -> Path:
    """Lay out in `folder` what is known of a model without its weights, and return the sketch of its snapshot.

    Descriptions are fetched, and the headers of the weights; the weights are holes of their size in files that take no
    room. So everything that reads names, shapes and sizes reads the sketch as it reads the model.
    """
    offer = ask(repository, revision, choose=choose)
    described = [file for file in offer.files if file.sha256 is None]
    with explaining(repository, revision, offer=offer):
        snapshot = download.place(folder, repository) / "snapshots" / offer.commit
        if described:
            _snapshot(offer, described, cache=folder)
        for file in offer.files:
            if file not in described:
                _sketch(offer, file, snapshot)
    return snapshot


def missing_bytes(sketched: Path) -> int:
    """Return the bytes that would be fetched for the snapshot of which `sketched` is the sketch."""
    folder = place() / sketched.parent.parent.name
    here = replace(_unasked(sketched), place=folder)
    return here.size_bytes - here.present_bytes()


def snapshot_of(path: Path) -> Path | None:
    """Return the snapshot of a hub's cache that `path` is or lies in, None where it is in none."""
    return next((parent for parent in (path, *path.parents) if parent.parent.name == "snapshots"), None)


def home(sketched: Path) -> Path:
    """Return the folder that the snapshot of which `sketched` is the sketch will have once it is fetched."""
    return place() / sketched.parent.parent.name / "snapshots" / sketched.name


def _unasked(snapshot: Path) -> Offer:
    """Return the files of a snapshot, large ones by the names of their blobs, as if the hub had been asked."""
    files = [path for path in sorted(snapshot.rglob("*")) if path.is_file()]
    return Offer(
        repository=snapshot.parent.parent.name.removeprefix("models--").replace("--", "/"),
        revision=snapshot.name,
        commit=snapshot.name,
        files=tuple(
            RemoteFile(
                name=file.relative_to(snapshot).as_posix(), size=file.stat().st_size, sha256=weights.blob_sha256(file)
            )
            for file in files
        ),
        place=snapshot.parent.parent,
    )


def _sketch(offer: Offer, file: RemoteFile, snapshot: Path) -> None:
    """Put a file of the right size and, of safetensors, the right header where the file will be."""
    path, blob = snapshot / file.name, snapshot.parent.parent / "blobs" / str(file.sha256)
    if path.exists():
        return
    for target in (path, blob):
        target.parent.mkdir(parents=True, exist_ok=True)
    if not blob.exists():
        safe = file.name.endswith(".safetensors")
        with blob.open("wb") as out:
            out.write(download.safetensors_head(offer, file) if safe else b"")
            out.truncate(file.size)
    try:
        path.symlink_to(blob)
    except OSError:
        # Windows makes links for some users only.
        blob.replace(path)


def _refuse(repository: str, names: list[str], files: list[str], terms: AccessRules) -> None:
    if "model_index.json" not in files:
        single = [name for name in names if name.endswith((".safetensors", ".gguf"))]
        raise ModelError(
            f"{repository} on the hub is not a diffusers pipeline: it has no model_index.json",
            hint=_of_files(repository, single) if single else "imggen models list",
        )
    unsafe = sorted(set(wanted(names, replace(terms, allow_pickle=True))) - set(files))
    if unsafe:
        raise ModelError(
            f"{repository}: {unsafe[0]} is a pickle, which can run any code when read, without a safetensors twin",
            hint="take a model with safetensors weights, or, if you trust this one, add --allow-pickle",
        )


def _of_files(repository: str, files: list[str]) -> str:
    """Return how the files of a repository are used that is no pipeline."""
    loras = [file for file in files if "lora" in PurePosixPath(file).name.lower()]
    pull = f"imggen models pull {repository}/{files[0]} for one file"
    return f"--lora {repository}/{loras[0]} beside a model; or {pull}" if loras else pull


def wanted(names: Iterable[str], terms: AccessRules) -> list[str]:
    """Return which of a repository's files a pipeline needs: texts, and one set of weights per component folder."""
    paths = [PurePosixPath(name) for name in names]
    texts = [path for path in paths if len(path.parts) <= 2 and path.suffix in TEXT_SUFFIXES]
    folders = sorted({path.parts[0] for path in paths if len(path.parts) == 2} - set(terms.without))
    weights = [name for folder in folders for name in _weights(paths, folder, terms)]
    return sorted(path.as_posix() for path in (*texts, *weights))


def _weights(paths: list[PurePosixPath], folder: str, terms: AccessRules) -> list[PurePosixPath]:
    return weights_of([path for path in paths if path.parts[0] == folder and len(path.parts) == 2], terms)


def weights_of(inside: list[PurePosixPath], terms: AccessRules) -> list[PurePosixPath]:
    """Return the weights among the files of one component's folder: one set of them."""
    by_variant: dict[str, list[PurePosixPath]] = {}
    for path in inside:
        stem, _, variant = SHARD.sub("", path.stem).partition(".")
        if path.suffix == ".safetensors" and stem in STEMS:
            by_variant.setdefault(variant, []).append(path)
    for variant in (*HALF_VARIANTS, "") if terms.half else ("", *HALF_VARIANTS):
        if variant in by_variant:
            return by_variant[variant]
    return [path for path in inside if terms.allow_pickle and path.suffix in PICKLE_SUFFIXES]


@contextmanager
def explaining(
    repository: str, revision: str | None, *, offer: Offer | None = None, api: HfApi | None = None
) -> Iterator[None]:
    """Turn what the hub and the disk raise within into errors that say what to do."""
    try:
        yield
    except ImggenError:
        raise
    except (OSError, ValueError, HTTPError) as error:
        if offer is not None and download.is_full(error):
            raise download.full(offer) from error
        if isinstance(error, OSError) and error.errno in FORBIDDEN:
            raise MachineError(
                f"the hub's cache {place()} cannot be written: {error.strerror}", hint="HF_HUB_CACHE=/a/folder/of/yours"
            ) from error
        raise explained(error, repository, revision, api=api) from error


def explained(error: Exception, repository: str, revision: str | None, *, api: HfApi | None = None) -> ImggenError:
    """Return what the hub's `error` means for the user, as a ModelError that says what to do.

    With an `api` at hand, a model that is not there gets the nearest name that is.
    """
    reference = f"{repository}@{revision}" if revision else repository
    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{repository} is gated: its owner wants you to accept a licence first",
            hint=f"accept it at {constants.ENDPOINT}/{repository}, then `hf auth login`, then the same line again",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{repository} has no revision {revision!r}", hint=f"imggen models pull {repository}")
    if isinstance(error, RepositoryNotFoundError):
        near = _near(repository, api) if api else None
        return ModelError(
            f"the hub has no model {repository!r} that you may see" + (f" (did you mean {near}?)" if near else ""),
            hint=f"imggen models pull {near}" if near else "check the spelling; for a private model: hf auth login",
        )
    if isinstance(error, HFValidationError):
        return ModelError(f"{reference!r} is not a model's id: {error}", hint="imggen models list")
    # Not `models pull`, which takes whole models and single files: it may be an encoder that was asked for.
    return ModelError(
        f"{reference} could not be fetched from the hub: {error}", hint="the same line again, once the network is there"
    )


def _near(repository: str, api: HfApi) -> str | None:
    """Return the model of the hub whose id is spelt most like `repository`: of that owner, or of that name."""
    owner, _, name = repository.rpartition("/")
    names: list[str] = []
    for words in ({"author": owner}, {"search": name}):
        # A guess is a courtesy, so nothing that goes wrong with it is worth telling.
        with suppress(OSError, ValueError, HTTPError, AttributeError):
            names += [model.id for model in api.list_models(**words, filter="diffusers", sort="downloads", limit=MANY)]
    guess = nearest(repository, names, likeness=LIKE)
    return guess[0] if guess else None
