"""The Hugging Face Hub, through its own client: what is fetched is checked, and what goes wrong is explained."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from trainables.redaction import redact
from trainables.storage import local_path

PATIENCE_S = 10  # for an answer, and between two pieces of one; downloads go on as long as bytes come
WAITS_S = (1, 4)  # after a try that failed, and may not the next time
RETRY_AFTER_AT_MOST_S = 120.0
DOWNLOADS = 2  # of a file whose checksum is wrong
_SAMPLE = 1 << 20
_RULE = {40: "sha1", 64: "sha256"}  # a blob in the cache bears the hash that the Hub gave it: git's, or that of LFS


class HubError(ValueError):
    """Something that cannot be had from the Hub; the message says what, why, and the mend."""


def settle() -> None:
    """The environment that the Hub's clients find; to be called before anything imports them: they read it only then.

    Where ``SCRATCH`` is set and ``HF_HOME`` is not, downloads go there: home folders of clusters are small.
    """
    scratch = os.environ.get("SCRATCH")
    if scratch and not os.environ.get("HF_HOME") and Path(scratch).is_dir():
        os.environ["HF_HOME"] = str(Path(scratch) / "huggingface")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")  # datasets would tell a server of Amazon's of every load


def local(word: str) -> Path | None:
    """A user's word as the folder or file that it names; None where nothing is there."""
    try:
        path = local_path(word).resolve()
        return path if path.exists() else None
    except (ValueError, OSError):  # nobody's home, or longer than a path can be
        return None


def is_own(source: str) -> bool:
    """Whether a model's source is a folder of the user's own, which is kept as an absolute path."""
    return Path(source).is_absolute()


def is_repo_id(word: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", word) is not None


def fetch(
    source: str,
    patterns: Sequence[str],
    revision: str | None = None,
    *,
    whole: Callable[[Path], bool],
    into: Path | None = None,
) -> Path:
    """The folder with a model's files of these patterns, downloaded where the cache lacks them, each checked.

    What the cache has is used without asking the Hub again, if it is ``whole``: a branch that moves on does not change
    a sweep half way. into: a cache of its own for what must be downloaded. A ``source`` that is an absolute path is
    that folder. Raises HubError.
    """
    if is_own(source):
        return Path(source)
    from huggingface_hub.errors import LocalEntryNotFoundError

    with explained(f"{source}{f' at {revision}' if revision else ''}"):
        try:
            folder = _snapshot(source, patterns, revision, local_files_only=True)
            if whole(folder):
                return folder
        except LocalEntryNotFoundError:
            pass
        commit_of(source, revision)  # snapshot_download would wait for ever for a Hub that does not answer
        for _ in range(DOWNLOADS):
            folder = _tried(functools.partial(_snapshot, source, patterns, revision, into=into))
            damaged = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if not _matches(path)]
            if not damaged:
                return folder
            for path in damaged:  # a proxy's error page, or a disk: the client would serve it for ever
                path.resolve().unlink()
        raise HubError(
            f"{source}: {damaged[0].name} arrives with other bytes than its checksum says, {DOWNLOADS} times; a proxy "
            "or a mirror may change it: try without (HF_ENDPOINT, HTTPS_PROXY)"
        )


def info(repo: str, revision: str | None = None, repo_type: str = "model", *, files: bool = False) -> Any:
    """What the Hub says of a repository at a revision, with ``files`` also their sizes.

    Raises the client's errors, within seconds where nothing answers.
    """
    import huggingface_hub

    huggingface_hub.get_session().timeout = PATIENCE_S  # it has none, and hangs where a Hub accepts but never answers
    ask = functools.partial(huggingface_hub.HfApi().repo_info, repo, revision=revision, repo_type=repo_type)
    return _tried(functools.partial(ask, files_metadata=files, timeout=PATIENCE_S))


def commit_of(repo: str, revision: str | None = None, repo_type: str = "model") -> str:
    """What a revision stands for now. Raises as :func:`info`."""
    sha = info(repo, revision, repo_type).sha
    assert sha is not None, "the Hub names the commit of every revision"
    return str(sha)


def is_offline() -> bool:
    """Whether nothing is to be asked of the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def branches(repo: str) -> dict[str, str]:
    """A model's branches and the commits they stand for; offline, those that the cache knows. Raises HubError."""
    import huggingface_hub

    if is_offline():
        folder = cache() / f"models--{repo.replace('/', '--')}" / "refs"
        return {str(path.relative_to(folder)): path.read_text().strip() for path in folder.rglob("*") if path.is_file()}
    with explained(repo):
        info(repo)  # it has the patience that list_repo_refs lacks
        refs = _tried(functools.partial(huggingface_hub.HfApi().list_repo_refs, repo))
    return {branch.name: branch.target_commit for branch in refs.branches}


def _snapshot(
    source: str, patterns: Sequence[str], revision: str | None, local_files_only: bool = False, into: Path | None = None
) -> Path:
    import huggingface_hub

    return Path(
        huggingface_hub.snapshot_download(
            source,
            revision=revision,
            allow_patterns=list(patterns),
            local_files_only=local_files_only,
            cache_dir=into,
        )
    )


def _tried(action: Callable[[], Any]) -> Any:
    """Once more after an error that may pass, after the time that the server asks for or a second or two."""
    for wait in WAITS_S:
        try:
            return action()
        except Exception as error:
            if not _passes(error):
                raise
            time.sleep(max(wait, _asked_to_wait(error)))
    return action()


def _passes(error: BaseException) -> bool:
    """Whether an error may pass: a server's, one to slow down, or a connection that broke."""
    for one in _chain(error):
        if (status := _status_of(one)) is not None:
            return status == 429 or status >= 500
        if any(kind.__name__ in ("ReadError", "RemoteProtocolError", "ReadTimeout") for kind in type(one).__mro__):
            return True
    return "onsistency" in str(error)  # a download of the wrong length


def _status_of(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _asked_to_wait(error: BaseException) -> float:
    """Seconds, of a server that says so, within reason."""
    headers = (getattr(getattr(one, "response", None), "headers", {}) for one in _chain(error))
    asked = next((text for head in headers if (text := head.get("retry-after", ""))), "")
    return min(float(asked), RETRY_AFTER_AT_MOST_S) if asked.isdigit() else 0.0


def _matches(path: Path) -> bool:
    blob = path.resolve()
    if blob == path or len(blob.name) not in _RULE:  # a file system without links: nothing to compare with
        return True
    digest = hashlib.new(_RULE[len(blob.name)])
    if digest.name == "sha1":
        digest.update(b"blob %d\0" % blob.stat().st_size)
    with blob.open("rb") as stream:
        while chunk := stream.read(_SAMPLE):
            digest.update(chunk)
    return digest.hexdigest() == blob.name


def commit(folder: Path, patterns: Sequence[str]) -> str:
    """What a fetched folder is: its commit, or of a folder of the user's own a fingerprint of its files."""
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return folder.name
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    whole = (f"{path.name} {_file_digest(path, path.stat().st_size, path.stat().st_mtime_ns)}\n" for path in paths)
    return hashlib.sha256("".join(whole).encode()).hexdigest()[:40]


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, modified_ns: int) -> str:
    """Read whole, 1 s a GB: merged adapters may change few of a model's tensors."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what the client raises into a HubError that names the cause and the mend."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        reason = explanation(error)
        if reason is None:
            raise
        raise HubError(f"{what}: {reason}") from error


class Explanation(NamedTuple):
    """What went wrong, and the mend, which may be empty."""

    cause: str
    mend: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.mend}" if self.mend else self.cause


def explanation(error: BaseException) -> Explanation | None:
    """The cause and the mend of an error of ``huggingface_hub`` or ``datasets``; None for one of another kind.

    Without the secrets that an endpoint or a proxy has in its URL.
    """
    found = _explanation(error)
    return found and Explanation(*map(redact, found))


def _explanation(error: BaseException) -> Explanation | None:
    from huggingface_hub import constants, errors

    found = list(_chain(error))

    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((one for one in found if isinstance(one, kinds)), None)

    def named(*names: str) -> BaseException | None:
        """Of httpx, whose package changes its name with the client's version."""
        return next((one for one in found if any(kind.__name__ in names for kind in type(one).__mro__)), None)

    endpoint = constants.ENDPOINT
    if first(errors.GatedRepoError) or any("gated dataset" in str(one) for one in found):  # datasets hides the client's
        return Explanation(
            "is gated", "accept its terms on its page, then set HF_TOKEN to a token of your account (or: hf auth login)"
        )
    if first(errors.RevisionNotFoundError):
        pages = "its page lists the branches, for Pythia step0, step1, step2, step4 ... step143000"
        return Explanation("no such revision", pages)
    if first(errors.RepositoryNotFoundError):
        return Explanation(f"not found at {endpoint}", "check the spelling, or set HF_TOKEN if it is private")
    if first(errors.OfflineModeIsEnabled) or (constants.HF_HUB_OFFLINE and first(OSError)):
        return Explanation(
            f"is not in the cache ({constants.HF_HUB_CACHE}) and offline mode is on",
            "unset HF_HUB_OFFLINE, or fetch it on a machine with a network and set HF_HOME to the same folder",
        )
    if (status := next((code for one in found if (code := _status_of(one))), None)) is not None:
        return _status(status, endpoint)
    if missing := first(errors.RemoteEntryNotFoundError):
        return Explanation(f"lacks a file ({str(missing).splitlines()[0]})", "")
    if named("ProxyError"):
        return Explanation("the proxy refuses the connection", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
    if (short := named("RemoteProtocolError")) and "complete message body" in str(short):
        return Explanation(f"the download was cut short ({short})", "run again, it goes on where it was")
    if unreachable := named("TransportError", "ConnectionError", "TimeoutError"):
        mend = "check the network, or set HTTPS_PROXY, or HF_ENDPOINT to a mirror, or use a local copy"
        if "CERTIFICATE" in str(unreachable):
            mend = "a proxy may open what is encrypted: set SSL_CERT_FILE to its certificate"
        return Explanation(f"{endpoint} cannot be reached ({type(unreachable).__name__}: {unreachable})", mend)
    if short := first(OSError):
        text = str(short).splitlines()[0] if str(short) else type(short).__name__
        if "onsistency" in str(short):
            return Explanation(f"the download was cut short ({text})", "run again, it goes on where it was")
        return Explanation(text, "")
    return None


def _status(status: int, endpoint: str) -> Explanation:
    if status == 429:
        slow = f"{endpoint} asks to slow down (429), also after several tries"
        return Explanation(slow, "wait some minutes, or set HF_TOKEN")
    if status in (401, 403):
        mend = "set HF_TOKEN to a token that may read it (or: hf auth login)"
        return Explanation(f"{endpoint} refuses access ({status})", mend)
    if status >= 500:
        fails = f"{endpoint} fails ({status}), also after several tries"
        return Explanation(fails, "try later, or set HF_ENDPOINT to a mirror")
    return Explanation(f"{endpoint} answers with status {status}", "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
