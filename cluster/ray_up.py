"""What is wrong in a file for ``ray up``: Ray's own schema, and what a sweep needs beyond it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from cluster import lines
from cluster.problem import SET_ME, Problem

TOKEN = "~/.ray/auth_token"
CLOUDS = ("aws", "gcp", "azure")
ANYWHERE = ("0.0.0.0/0", "::/0")

Path_ = tuple[str | int, ...]
Found = tuple[Path_, str, str]  # path, what, mend
_Rule = Callable[[dict[str, Any]], Iterator[Found]]


def problems(text: str) -> Iterator[Problem]:
    """In the order of rules. What still holds SET_ME is the caller's to report."""
    try:
        documents, line = lines.read(text)
    except yaml.MarkedYAMLError as error:
        yield lines.broken(error)
        return
    config = documents[0] if len(documents) == 1 else None
    if not isinstance(config, dict) or not isinstance(config.get("provider"), dict):
        yield Problem(1, "provider", "this is no cluster for ray up", "start from one of cluster/*.yaml")
        return
    for rule in _RULES:
        for path, what, mend in rule(config):
            yield Problem(line((0, *path)), ".".join(map(str, path)), what, mend)


def _schema(config: dict[str, Any]) -> Iterator[Found]:
    """By Ray's own functions, as ``ray up`` calls them."""
    import ray
    from ray.autoscaler._private.util import prepare_config, validate_config

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    wrong = False
    for error in jsonschema.Draft7Validator(schema).iter_errors(config):
        wrong = True
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            for name in sorted(error.instance.keys() - error.schema["properties"].keys()):
                yield (*path, name), "Ray knows no such field", f"one of {', '.join(error.schema['properties'])}"
        elif SET_ME not in str(error.instance) or error.validator == "required":
            yield path, error.message, "see Ray's reference of cluster files"
    if wrong:
        return
    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            validate_config(prepare_config(copy.deepcopy(config)))
    except (ValueError, KeyError, RuntimeError, ImportError, jsonschema.ValidationError, SystemExit) as error:
        yield (), f"Ray refuses it: {str(error).strip().splitlines()[0]}", "as it says"
    except Exception as error:  # what Ray's command line raises to end itself, after it has said why
        if type(error).__module__.partition(".")[0] not in ("click", "ray"):
            raise
        yield ("provider",), f"Ray refuses it: {error}", "as it says"


def _commands(config: dict[str, Any], *kinds: str) -> Iterator[tuple[Path_, str]]:
    for kind in kinds:
        for number, command in enumerate(config.get(kind) or []):
            yield (kind, number), str(command)


def _token(config: dict[str, Any]) -> Iterator[Found]:
    if TOKEN not in (config.get("file_mounts") or {}):
        yield ("file_mounts",), "machines get no token, and Ray without one lets anybody in", f"{TOKEN}: {TOKEN}"
    setup = [one for _, one in _commands(config, "initialization_commands", "setup_commands")]
    if not any("setup_machine.sh" in one or "RAY_AUTH_MODE=token" in one for one in setup):
        mend = "run cluster/setup_machine.sh, or export RAY_AUTH_MODE=token in every shell"
        yield ("setup_commands",), "no machine is told to ask for the token", mend
    for kind in ("head_start_ray_commands", "worker_start_ray_commands"):
        before = ""
        for path, command in _commands(config, kind):
            if "ray start" in command and not re.search(r"RAY_AUTH_MODE\W*=+ *token", before + command):
                mend = 'test "$RAY_AUTH_MODE" = token, in a command before it'
                yield path, "Ray would start without asking for the token where that is not set up", mend
            before += command


def _private(config: dict[str, Any]) -> Iterator[Found]:
    for path, command in _commands(config, "head_start_ray_commands", "worker_start_ray_commands"):
        if re.search(r"--dashboard-host[= ]\s*(?!127\.0\.0\.1|localhost)\S", command):
            yield path, "the dashboard listens to other machines", "--dashboard-host=127.0.0.1, and ray dashboard"
    provider = config["provider"]
    if provider.get("type") in CLOUDS and provider.get("use_internal_ips") is not True:
        yield ("provider", "use_internal_ips"), "machines are reached by public addresses", "use_internal_ips: true"
    for path, value in _leaves(config):
        if value in ANYWHERE:
            yield path, f"lets {value} in, which is everybody", "the addresses of your own network"
        if (path[-1] == "AssociatePublicIpAddress" and value is True) or "accessConfigs" in path:
            yield path, "gives the machine a public address", "leave it out"
    if provider.get("type") == "aws":
        for kind, node in _node_types(config):
            if not (node.get("SecurityGroupIds") or "NetworkInterfaces" in node):
                path = ("available_node_types", kind, "node_config", "SecurityGroupIds")
                yield path, "the security group that Ray makes lets ssh in from everywhere", "a group of your own"


def _leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(one, (*path, key))
    elif path:
        yield path, value


def _node_types(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, node in (config.get("available_node_types") or {}).items():
        if isinstance(node, dict):
            yield kind, node.get("node_config") or {}


def _safe_node(config: dict[str, Any]) -> Iterator[Found]:
    types = config.get("available_node_types") or {}
    head = config.get("head_node_type", "")
    offered = (types.get(head) or {}).get("resources") or {}
    started = " ".join(one for _, one in _commands(config, "head_start_ray_commands"))
    if "trial_driver" not in offered and "trial_driver" not in started:
        place: Path_ = ("available_node_types", head, "resources") if types else ("head_start_ray_commands",)
        yield place, "drivers of distributed trials find no place", "trial_driver: 1 among the head's resources"
    for kind, node in types.items():
        if kind != head and "trial_driver" in ((node or {}).get("resources") or {}):
            path = ("available_node_types", kind, "resources", "trial_driver")
            yield path, "drivers of distributed trials would run on machines that come and go", "the head alone"
    if _is_spot((types.get(head) or {}).get("node_config")):
        yield ("available_node_types", head, "node_config"), "the head may be taken away at any time", "on demand"


def _is_spot(node: Any) -> bool:
    return bool(re.search(r"'spot'|preemptible': True|'SPOT'|'Spot'", str(node)))


def _store(config: dict[str, Any]) -> Iterator[Found]:
    found = [
        (path, match[1])
        for path, one in _commands(config, "initialization_commands", "setup_commands")
        if (match := re.search(r"TOPOSWEEP_RESULTS=[\"']?([^\s\"'#]+)", one))
    ]
    if not found:
        mend = "TOPOSWEEP_RESULTS=... bash ~/toposweep/cluster/setup_machine.sh"
        yield ("setup_commands",), "machines are not told where results go", mend
    for path, place in found:
        if SET_ME in place or "://" in place:
            continue
        mounted = any(
            " mount " in f" {one} " for _, one in _commands(config, "initialization_commands", "setup_commands")
        )
        if not place.startswith("/"):
            yield path, f"TOPOSWEEP_RESULTS={place} is another folder on each machine", "a path from / on, or a URI"
        elif config["provider"].get("type") in CLOUDS and not mounted:
            mend = "a URI such as s3://BUCKET/results, or a setup command that mounts a shared file system there"
            yield path, f"{place} is on the disk of each machine alone", mend


def _costs(config: dict[str, Any]) -> Iterator[Found]:
    if not config.get("idle_timeout_minutes"):
        yield ("idle_timeout_minutes",), "machines that do nothing would stay, and cost", "idle_timeout_minutes: 10"
    provider = config["provider"].get("type")
    tagged = {"aws": "TagSpecifications", "gcp": "labels"}.get(provider)
    for kind, node in _node_types(config) if tagged else ():
        if not node.get(str(tagged)):
            path = ("available_node_types", kind, "node_config")
            yield (
                path,
                f"without {tagged} its cost cannot be told from others'",
                f"{tagged}, as in cluster/{provider}.yaml",
            )
    if provider == "azure" and not config["provider"].get("tags"):
        yield ("provider", "tags"), "without tags its cost cannot be told from others'", "tags: {project: toposweep}"


def _spot(config: dict[str, Any]) -> Iterator[Found]:
    started = " ".join(one for _, one in _commands(config, "worker_start_ray_commands"))
    if any(_is_spot(node) for _, node in _node_types(config)) and "cluster.spot" not in started:
        mend = f"python -m cluster.spot {config['provider'].get('type')}, in the background"
        yield ("worker_start_ray_commands",), "nobody hears that a machine is about to be taken away", mend


_RULES: tuple[_Rule, ...] = (_schema, _token, _private, _safe_node, _store, _costs, _spot)
