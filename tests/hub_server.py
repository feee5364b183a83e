"""A hub on this machine: what huggingface_hub asks of the real one, answered from memory over HTTP."""

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http
from safetensors.numpy import save_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 64 << 10


@dataclass
class Repository:
    """What the hub has under one id. `large` files have a SHA-256 there, the others a git hash."""

    files: dict[str, bytes]
    commit: str = COMMIT
    licence: str = "mit"
    gated: bool = False
    refs: tuple[str, ...] = ("main", "v1")

    def large(self, name: str) -> bool:
        return name.endswith((".safetensors", ".bin"))

    def etag(self, name: str) -> str:
        data = self.files[name]
        if self.large(name):
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def entry(self, name: str) -> dict[str, object]:
        size = len(self.files[name])
        found: dict[str, object] = {"size": size, "blobId": "0" * 40, "oid": "0" * 40}
        if self.large(name):
            found["lfs"] = {"sha256": self.etag(name), "oid": self.etag(name), "size": size, "pointerSize": 134}
        return found


@dataclass
class Hub:
    """The hub: its repositories, what it was asked, and what goes wrong with it.

    `cuts` closes a connection after so many bytes of a file, once per entry; `held` files stop after so many bytes
    until `released`; while it is `down` it sends no byte of a file; `sizes` lies about files;
    `knows_ranges` False sends a file from its start whatever is asked.
    """

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    cuts: list[tuple[str, int]] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    holding: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    down: bool = False
    sizes: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, bytes] = field(default_factory=dict)
    knows_ranges: bool = True

    def add(self, name: str, folder: Path | None = None, **options) -> Repository:
        files = {
            each.relative_to(folder).as_posix(): each.read_bytes()
            for each in (folder.rglob("*") if folder else ())
            if each.is_file()
        }
        self.repositories[name] = Repository(**({"files": files} | options))
        return self.repositories[name]

    def gets(self, ending: str) -> list[str | None]:
        """Return the ranges that were asked for of the files with this ending, in order."""
        return [each for method, path, each in self.asked if method == "GET" and path.endswith(ending)]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        url = urlsplit(self.path)
        path, query = unquote(url.path).strip("/"), parse_qs(url.query)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            self._api(parts[2:], query)
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._refuse(404, "EntryNotFound")

    def _api(self, parts, query):
        if not parts:
            self._json([{"id": each} for each in self._similar(query)])
            return
        name = "/".join(parts[:2])
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
            return
        revision = parts[3] if len(parts) > 3 else "main"
        if revision not in (*repository.refs, repository.commit):
            self._refuse(404, "RevisionNotFound")
            return
        entries = {each: repository.entry(each) for each in repository.files}
        for each, size in self.hub.sizes.items():
            entries[each]["size"] = size
        if len(parts) > 2 and parts[2] == "tree":
            self._json([{"type": "file", "path": each} | entry for each, entry in entries.items()])
            return
        siblings = [{"rfilename": each} | (entry if "blobs" in query else {}) for each, entry in entries.items()]
        card = {"license": repository.licence}
        self._json({"id": name, "sha": repository.commit, "siblings": siblings, "cardData": card, "tags": []})

    def _similar(self, query):
        author, search = query.get("author", [""])[0], query.get("search", [""])[0]
        return [each for each in self.hub.repositories if each.startswith(f"{author}/") or (search and search in each)]

    def _file(self, name, revision, file):
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
        elif repository.gated:
            self._refuse(403, "GatedRepo")
        elif file not in repository.files:
            self._refuse(404, "EntryNotFound")
        else:
            self._send(repository, file)

    def _send(self, repository, file):
        data = self.hub.wrong.get(file, repository.files[file])
        wanted = self.headers.get("Range") if self.hub.knows_ranges else None
        begin, _, end = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        part = data[int(begin) : int(end) + 1 if end else None]
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{repository.etag(file)}"')
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self._pour(file, part)

    def _pour(self, file, part):
        stop = next((bytes_ for name, bytes_ in self.hub.cuts if name == file), None)
        if stop is not None:
            self.hub.cuts.remove((file, stop))
        for start in range(0, len(part), PIECE):
            piece = part[start : start + PIECE]
            if start + len(piece) > self.hub.held.get(file, len(part)):
                self.hub.holding.set()
                self.hub.released.wait()
            if self.hub.down:
                self.close_connection = True
                return
            try:
                self.wfile.write(piece if stop is None else piece[: max(0, stop - start)])
            except OSError:
                self.close_connection = True
                return
            if stop is not None and start + len(piece) >= stop:
                self.close_connection = True
                return

    def _json(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        # A client that was killed is what some tests are about.
        pass


def small_model(folder: Path) -> Path:
    """Write a model to `folder` that has all that a Stable Diffusion has, but weights that mean nothing."""
    generator = np.random.default_rng(7)
    components = {
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "scheduler": ("diffusers", "DDIMScheduler"),
    }
    for name, (library, class_name) in components.items():
        place = folder / name
        place.mkdir(parents=True)
        config = "scheduler_config.json" if name == "scheduler" else "config.json"
        (place / config).write_text(json.dumps({"_class_name": class_name, "sample_size": 8}))
        if name == "tokenizer":
            (place / "vocab.json").write_text("{}")
        if name in ("unet", "vae", "text_encoder"):
            stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
            tensors = {each: generator.standard_normal((64, 1024), np.float32) for each in ("a.weight", "b.weight")}
            save_file(tensors, place / f"{stem}.safetensors")
    index = {"_class_name": "StableDiffusionPipeline"} | {name: list(each) for name, each in components.items()}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Small\n")
    return folder


@contextmanager
def serving():
    """Yield a running hub."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, for this process and its children."""
    place = tmp_path / "hub"
    place.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setenv("HF_HUB_CACHE", str(place))
    return place


@pytest.fixture
def fake_hub(hub_cache, monkeypatch):
    """A hub that this process and its children ask, over an empty cache."""
    with serving() as hub:
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        yield hub
        _http.close_session()
