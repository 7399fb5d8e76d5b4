"""A stand-in of the Hugging Face Hub: speaks its HTTP to the genuine clients, on 127.0.0.1, from memory.

Two servers, as with the real one: the Hub itself, which answers the API and `resolve/`, and a CDN of another origin,
to which it redirects for large files. (Of one origin, the clients would follow the redirect when they ask for a file's
metadata, and miss the headers of the first answer.) Nothing is served with Xet's headers: files come by plain HTTP.

Beside repositories it serves faults: :meth:`Hub.fail` makes the next answers to a path wrong in one way.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

TOKEN = "hf_may_read_gated_repositories"
STRANGER = "hf_valid_but_not_let_in"
ALWAYS = math.inf

LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".zst", ".gz", ".pt", ".npy", ".arrow")
LFS_SIZE = 10 * 1024 * 1024  # above it, git files are refused by the real Hub
DATE = "2024-01-01T00:00:00.000Z"
OPERATIONS = "revision|tree|paths-info|refs|commits|auth-check|discussions"
API = re.compile(
    rf"/api/(models|datasets|spaces)/([^/]+(?:/(?!(?:{OPERATIONS})(?:/|$))[^/]+)?)"
    rf"(?:/({OPERATIONS})(?:/([^/]+))?(?:/(.*))?)?"
)
RESOLVE = re.compile(r"/(?:(datasets|spaces)/)?([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Status:
    """Refuses with a status, and perhaps what the Hub says beside it."""

    code: int
    retry_after: int | None = None
    error_code: str | None = None
    message: str = field(default="as the test asked", repr=False)


@dataclass(frozen=True)
class Slow:
    """Waits before it answers; with `after`, sends the head and so many bytes of the body, and waits then."""

    seconds: float
    after: int | None = None


@dataclass(frozen=True)
class Truncated:
    """Announces the whole length, sends `keep` bytes of the body (half of it without), and hangs up."""

    keep: int | None = None


@dataclass(frozen=True)
class Corrupt:
    """Sends other bytes of the same length, so that nothing but a checksum tells."""


@dataclass(frozen=True)
class Reset:
    """Resets the connection instead of answering."""


Fault = Status | Slow | Truncated | Corrupt | Reset


@dataclass
class Request:
    """A request in the order of arrival, and what was answered: `sent` counts the bytes of the body that went out."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def downloads(self) -> bool:
        """Whether it fetched (a part of) a file."""
        return self.method == "GET" and self.status in (200, 206) and not self.path.startswith("/api/")


@dataclass(frozen=True)
class File:
    path: str
    content: bytes
    sha256: str
    blob_id: str
    lfs: bool

    @classmethod
    def of(cls, path: str, content: bytes) -> File:
        lfs = path.endswith(LFS_SUFFIXES) or len(content) > LFS_SIZE
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(path, content, sha256, git_blob(lfs_pointer(sha256, len(content)) if lfs else content), lfs)

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob_id


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass
class Repository:
    kind: str
    id: str
    gated: bool = False
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        named = self.branches.get(revision) or self.tags.get(revision)
        whole = revision if len(revision) == 40 else None
        return named or (whole if whole in self.commits else None)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Planned:
    """A fault that is to come, to requests of this method (all without one) whose path holds this part."""

    part: str
    fault: Fault
    left: float
    method: str | None


def answer_json(data: Any) -> Answer:
    return Answer(200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(data).encode())


def refusal(status: int, message: str, error_code: str | None = None, **headers: str) -> Answer:
    """An error as the Hub words it: for its clients in two headers, for others in JSON."""
    head = {"Content-Type": "application/json; charset=utf-8", "X-Error-Message": message, **headers}
    if error_code is not None:
        head["X-Error-Code"] = error_code
    return Answer(status, head, json.dumps({"error": message}).encode())


class Server(ThreadingHTTPServer):
    """One that can hang up on everybody, and says nothing where a client does, as those with little patience do."""

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):  # it may have ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)


class Hub:
    """The stand-in. `with Hub() as hub:` or :meth:`start` and :meth:`stop`; then HF_ENDPOINT is `hub.endpoint`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, File] = {}
        self.planned: list[Planned] = []
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.servers: list[Server] = []
        self.endpoint = ""
        self.cdn = ""

    def start(self) -> Hub:
        self.listen(0, 0)
        self.endpoint, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)
        return self

    def listen(self, *ports: int) -> None:
        answers = (self.answer, self.answer_cdn)
        self.servers = [Server(port, handler(self, answer)) for port, answer in zip(ports, answers, strict=True)]

    def stop(self) -> None:
        self.clear_faults()
        for server in self.servers:
            server.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing listens meanwhile: who connects is refused, who is connected is cut off."""
        ports = [server.server_port for server in self.servers]
        for server in self.servers:
            server.close()
        try:
            yield
        finally:
            self.listen(*ports)

    def __enter__(self) -> Hub:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        repo_type: str = "model",
        revision: str = "main",
        gated: bool = False,
    ) -> str:
        """Commits these files, and no others, to a branch (made if need be). The commit's name follows from them."""
        tree = {path: File.of(path, content) for path, content in sorted(files.items())}
        named = [repo_type, repo_id, *((file.path, file.sha256) for file in tree.values())]
        sha = hashlib.sha1(json.dumps(named).encode()).hexdigest()
        with self.lock:
            repository = self.repositories.setdefault((repo_type, repo_id), Repository(repo_type, repo_id))
            repository.gated = gated
            repository.commits[sha] = tree
            repository.branches[revision] = sha
            self.blobs |= {file.sha256: file for file in tree.values()}
        return sha

    def tag(self, repo_id: str, name: str, *, revision: str = "main", repo_type: str = "model") -> str:
        """Tags what a revision is now; later commits leave the tag where it is."""
        repository = self.repositories[repo_type, repo_id]
        sha = repository.commit(revision)
        if sha is None:
            raise KeyError(f"{repo_id} has no {revision}")
        repository.tags[name] = sha
        return sha

    def remove(self, repo_id: str, *, repo_type: str = "model") -> None:
        del self.repositories[repo_type, repo_id]

    def fail(self, path_part: str, fault: Fault, times: float = 1, *, method: str | None = None) -> None:
        """Answers the next `times` (or :data:`ALWAYS`) requests whose path holds this part with a fault.

        The path is without its query, and with its escapes undone. Of a large file, `resolve/` is asked first (HEAD),
        then the CDN (GET); the paths of both end in the file's name, the CDN's begin with `/cdn/`.
        """
        with self.lock:
            self.planned.append(Planned(path_part, fault, times, method))

    def clear_faults(self) -> None:
        """No faults any more; answers that wait go out now."""
        with self.lock:
            self.planned.clear()
            self.released.set()
            self.released = threading.Event()

    def clear(self) -> None:
        """Neither repositories nor faults nor a log."""
        self.clear_faults()
        with self.lock:
            self.repositories.clear()
            self.blobs.clear()
            self.requests.clear()

    def downloads(self, path_part: str = "") -> list[Request]:
        """The requests that fetched (a part of) a file whose path holds this part."""
        return [request for request in list(self.requests) if request.downloads and path_part in request.path]

    @property
    def sent(self) -> int:
        """The bytes of files that were sent."""
        return sum(request.sent for request in self.downloads())

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for planned in self.planned:
                if planned.left > 0 and planned.part in path and planned.method in (None, method):
                    planned.left -= 1
                    return planned.fault
        return None

    def answer(self, request: Request, raw_path: str, body: bytes) -> Answer:
        if raw_path == "/api/whoami-v2":
            return self.whoami(request)
        if raw_path == "/api/agent-harnesses":
            return answer_json({"harnesses": {}, "standardEnvVars": []})
        if match := API.fullmatch(raw_path):
            kind, repo_id, operation, revision, rest = match.groups()
            return self.answer_api(request, kind[:-1], unquote(repo_id), operation, revision, unquote(rest or ""), body)
        if match := RESOLVE.fullmatch(raw_path):
            kind, repo_id, revision, path = match.groups()
            kind = kind[:-1] if kind else "model"
            return self.resolve(request, kind, unquote(repo_id), unquote(revision), unquote(path))
        return refusal(404, "Sorry, we can't find the page you are looking for.")

    def answer_cdn(self, request: Request, raw_path: str, body: bytes) -> Answer:
        """A file by its checksum, whoever asks: the real address is signed."""
        file = self.blobs.get(raw_path.split("/")[2]) if raw_path.startswith("/cdn/") else None
        if file is None:
            return Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
        name = file.path.rpartition("/")[2]
        headers = {"ETag": f'"{file.sha256}"', "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)};"}
        return part_of(request, file, headers)

    def refused(self, request: Request, repository: Repository | None, *, content: bool) -> Answer | None:
        """Why this asker may not have this repository, if so. A gated one's content is closed, its listing is open."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN, STRANGER):
            return refusal(401, "Invalid credentials in Authorization header")
        if repository is None:
            if token:
                return refusal(404, "Repository not found", "RepoNotFound")
            return refusal(401, "Invalid username or password.", "RepoNotFound")
        if content and repository.gated and token != TOKEN:
            page = f"{self.endpoint}/{repository.id}"
            if token:
                message = f"Access to model {repository.id} is restricted and you are not in the authorized list. "
                return refusal(403, f"{message}Visit {page} to ask for access.", "GatedRepo")
            message = f"Access to model {repository.id} is restricted. "
            return refusal(401, f"{message}You must have access to it and be authenticated to access it.", "GatedRepo")
        return None

    def whoami(self, request: Request) -> Answer:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in (TOKEN, STRANGER):
            return refusal(401, "Invalid username or password.")
        return answer_json({"type": "user", "id": "0", "name": "tester", "fullname": "Tester", "orgs": []})

    def answer_api(
        self,
        request: Request,
        kind: str,
        repo_id: str,
        operation: str | None,
        revision: str | None,
        rest: str,
        body: bytes,
    ) -> Answer:
        repository = self.repositories.get((kind, repo_id))
        if refused := self.refused(request, repository, content=operation == "auth-check"):
            return refused
        assert repository is not None
        if operation == "auth-check":
            return Answer(200, {"Content-Type": "text/plain"}, b"OK")
        if operation == "refs":
            return answer_json(refs(repository))
        if operation == "discussions":
            return refusal(403, "Discussions are disabled for this repo")
        sha = repository.commit(unquote(revision or "main"))
        if sha is None:
            return refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        expand = "true" in [value.lower() for value in request.query.get("expand", [])]
        if operation == "commits":
            commit = {"id": sha, "title": "Add files", "message": "", "date": DATE, "authors": [{"user": "tester"}]}
            return answer_json([commit])
        if operation == "tree":
            recursive = "true" in [value.lower() for value in request.query.get("recursive", [])]
            entries = list(tree(repository.commits[sha], rest.strip("/"), recursive, sha if expand else None))
            if not entries and rest:
                return refusal(404, f"{rest} does not exist on {revision}", "EntryNotFound", **{"X-Repo-Commit": sha})
            return answer_json(entries)
        if operation == "paths-info":
            asked = parse_qs(body.decode())
            last = sha if asked.get("expand", ["false"])[0].lower() == "true" else None
            every = {entry["path"]: entry for entry in tree(repository.commits[sha], "", True, last)}
            return answer_json([every[path] for path in asked.get("paths", []) if path in every])
        return answer_json(self.info(request, repository, sha))

    def info(self, request: Request, repository: Repository, sha: str) -> dict[str, Any]:
        files = repository.commits[sha]
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in files]
        if "blobs" in request.query:
            for sibling, file in zip(siblings, files.values(), strict=True):
                sibling |= {"blobId": file.blob_id, "size": len(file.content)}
                if file.lfs:
                    pointer = len(lfs_pointer(file.sha256, len(file.content)))
                    sibling["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": pointer}
        data: dict[str, Any] = {
            "_id": sha[:24],
            "id": repository.id,
            "author": repository.id.rpartition("/")[0] or None,
            "sha": sha,
            "lastModified": DATE,
            "createdAt": DATE,
            "private": False,
            "gated": "manual" if repository.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": front_matter(files),
            "siblings": siblings,
            "usedStorage": sum(len(file.content) for file in files.values()),
        }
        if repository.kind == "model":
            data["modelId"] = repository.id
            if stored := stored_parameters(files):
                data["safetensors"] = {"parameters": stored, "total": sum(stored.values())}
            if "config.json" in files:
                with suppress(ValueError, TypeError):
                    config = json.loads(files["config.json"].content)
                    data["config"] = {key: config[key] for key in ("architectures", "model_type") if key in config}
        if "securityStatus" in request.query:
            data["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
        if wanted := request.query.get("expand"):
            data = {key: value for key, value in data.items() if key in {"_id", "id", "modelId", *wanted}}
        return data

    def resolve(self, request: Request, kind: str, repo_id: str, revision: str, path: str) -> Answer:
        repository = self.repositories.get((kind, repo_id))
        if refused := self.refused(request, repository, content=True):
            return refused
        assert repository is not None
        sha = repository.commit(revision)
        if sha is None:
            return refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        file = repository.commits[sha].get(path)
        if file is None:
            return refusal(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": sha})
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.etag}"', "Access-Control-Allow-Origin": "*"}
        if not file.lfs:
            return part_of(request, file, headers)
        location = f"{self.cdn}/cdn/{file.sha256}/{quote(repository.id)}/{sha}/{quote(path)}?signature=none"
        headers |= {
            "Location": location,
            "X-Linked-Etag": f'"{file.etag}"',
            "X-Linked-Size": str(len(file.content)),
            "Accept-Ranges": "bytes",
            "Content-Type": "text/plain; charset=utf-8",
        }
        return Answer(302, headers, f"Found. Redirecting to {location}".encode())


def part_of(request: Request, file: File, headers: Mapping[str, str]) -> Answer:
    """A file, or the range of it that was asked for."""
    head = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    size = len(file.content)
    match = RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or not any(match.groups()):
        return Answer(200, head, file.content)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        return Answer(416, head | {"Content-Range": f"bytes */{size}"})
    return Answer(206, head | {"Content-Range": f"bytes {start}-{end - 1}/{size}"}, file.content[start:end])


def refs(repository: Repository) -> dict[str, list[dict[str, str]]]:
    return {
        "branches": [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in repository.branches.items()
        ],
        "tags": [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": sha} for name, sha in repository.tags.items()
        ],
        "converts": [],
        "pullRequests": [],
    }


def tree(files: Mapping[str, File], folder: str, recursive: bool, last_commit: str | None) -> Iterator[dict[str, Any]]:
    """Entries below a folder as the API lists them; with the last commit's name, what `expand` adds."""
    prefix = f"{folder}/" if folder else ""
    folders: set[str] = set()
    for file in files.values():
        if not file.path.startswith(prefix):
            continue
        parts = file.path.removeprefix(prefix).split("/")
        above = {
            prefix + "/".join(parts[:depth]) for depth in range(1, len(parts) if recursive else min(len(parts), 2))
        }
        for path in sorted(above - folders):
            yield expanded({"type": "directory", "oid": git_blob(path.encode()), "size": 0, "path": path}, last_commit)
        folders |= above
        if recursive or len(parts) == 1:
            size = len(file.content)
            entry: dict[str, Any] = {"type": "file", "oid": file.blob_id, "size": size, "path": file.path}
            if file.lfs:
                pointer = len(lfs_pointer(file.sha256, size))
                entry["lfs"] = {"oid": file.sha256, "size": size, "pointerSize": pointer}
            yield expanded(entry, last_commit)


def expanded(entry: dict[str, Any], last_commit: str | None) -> dict[str, Any]:
    if last_commit is not None:
        entry["lastCommit"] = {"id": last_commit, "title": "Add files", "date": DATE}
        if entry["type"] == "file":
            entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return entry


def stored_parameters(files: Mapping[str, File]) -> dict[str, int]:
    """How many numbers of each type the safetensors files hold, by their heads."""
    found: dict[str, int] = {}
    for path, file in files.items():
        if path.endswith(".safetensors"):
            length = int.from_bytes(file.content[:8], "little")
            try:
                head = json.loads(file.content[8 : 8 + length])
            except ValueError:
                return {}  # something else under that name
            for name, tensor in head.items():
                if name != "__metadata__":
                    found[tensor["dtype"]] = found.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
    return found


def front_matter(files: Mapping[str, File]) -> dict[str, Any]:
    """The YAML at the top of the README: the data set's or model's card."""
    card = files.get("README.md")
    match = re.match(r"---\n(.*?)\n---", card.content.decode(), re.DOTALL) if card else None
    return yaml.safe_load(match[1]) if match else {}


def handler(hub: Hub, answer: Any) -> type[BaseHTTPRequestHandler]:
    """The HTTP of one of the two servers: logs a request, asks for the answer, and spoils it if a fault is planned."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else the body waits 40 ms for the head's acknowledgement

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, unquote(url.path), parse_qs(url.query), headers)
            if request.path != "/api/agent-harnesses":  # each process asks it once, whatever it does next
                with hub.lock:
                    hub.requests.append(request)
            released, fault = hub.released, hub.take_fault(request.method, request.path)
            if isinstance(fault, Reset):
                self.reset()
                return
            if isinstance(fault, Slow) and fault.after is None:
                released.wait(fault.seconds)
            if isinstance(fault, Status):
                retry = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                reply = refusal(fault.code, fault.message, fault.error_code, **retry)
            else:
                reply = answer(request, url.path, body)
            with suppress(ConnectionError):  # the client may have lost its patience
                self.send(request, reply, fault, released)

        do_GET = do_HEAD = do_POST = handle_any

        def send(self, request: Request, reply: Answer, fault: Fault | None, released: threading.Event) -> None:
            request.status = reply.status
            self.send_response(reply.status, HTTPStatus(reply.status).phrase)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if request.method == "HEAD":
                return
            content = reply.body
            if isinstance(fault, Corrupt):
                content = bytes(byte ^ 0x55 for byte in content)
            if isinstance(fault, Truncated):
                content = content[: len(content) // 2 if fault.keep is None else fault.keep]
                self.close_connection = True
            if isinstance(fault, Slow) and fault.after is not None:
                self.write(request, content[: fault.after])
                released.wait(fault.seconds)
                content = content[fault.after :]
            self.write(request, content)

        def write(self, request: Request, content: bytes) -> None:
            request.sent += len(content)  # before they go: who has read them may look at once
            self.wfile.write(content)

        def reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # not close(): the handler's files would keep the connection open
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing: `Hub.requests` is the log."""

    return Handler


def isolate(environ: MutableMapping[str, str], endpoint: str, home: Path) -> None:
    """Makes this environment, and that of every process started from it, one in which only the stand-in is the Hub.

    To be called before anything imports huggingface_hub, datasets or transformers, which read it while imported.
    """
    for name in list(environ):
        if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) or name.lower().endswith("_proxy"):
            del environ[name]
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # else load_dataset asks S3, whatever the endpoint is
    }
    environ.update(settings)


def forget(home: Path) -> None:
    """Empties the clients' caches: the folders, and what this process holds of them in memory."""
    for folder in ("hub", "datasets"):
        shutil.rmtree(home / folder, ignore_errors=True)
    if file_system := sys.modules.get("huggingface_hub.hf_file_system"):
        file_system.HfFileSystem.clear_instance_cache()
        file_system.hffs.invalidate_cache()
    if tree_cache := sys.modules.get("huggingface_hub._tree_cache"):
        getattr(tree_cache, "_IN_MEMORY_TREE_CACHE", {}).clear()
