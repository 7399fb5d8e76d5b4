"""What is wrong in a KubeRay file: names and types by KubeRay's own schema, and what a sweep needs beyond them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from cluster import lines
from cluster.problem import SET_ME, Problem

SCHEMA = Path(__file__).parent / "kuberay_schema.json"
STORE, MOST = "TOPOSWEEP_RESULTS", "TOPOSWEEP_MOST"
GRACE_S = 30  # trials need up to 20 s to save
CLUSTER = ("spec", "rayClusterSpec")

Field = tuple[str | int, ...]
Found = tuple[Field, str, str]  # field within the document, what, mend


def problems(text: str) -> Iterator[Problem]:
    """In the order of rules. What still holds SET_ME is the caller's to report."""
    try:
        documents, line = lines.read(text)
    except yaml.MarkedYAMLError as error:
        yield lines.broken(error)
        return
    jobs = [number for number, one in enumerate(documents) if _of_kind(one, "RayJob")]
    if not jobs:
        yield Problem(1, "kind", "there is no RayJob", "start from cluster/kuberay.yaml")
    for number, document in enumerate(documents):
        rules = _JOB_RULES if number in jobs else _OTHER_RULES
        for rule in rules:
            for path, what, mend in rule(document):
                yield Problem(line((number, *path)), ".".join(map(str, path)), what, mend)


def _of_kind(document: Any, *kinds: str) -> bool:
    return isinstance(document, dict) and document.get("kind") in kinds


def _get(value: Any, path: Sequence[str | int]) -> Any:
    """None where it is not there: of the wrong type, too, which the schema reports."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _dicts(value: Any, path: Sequence[str | int]) -> list[tuple[int, dict[str, Any]]]:
    """The mappings of a list with their indices; none where there is no list."""
    found = _get(value, path)
    return [(index, one) for index, one in enumerate(found) if isinstance(one, dict)] if isinstance(found, list) else []


def _unset(value: Any) -> bool:
    return SET_ME in str(value)


def _groups(job: Any) -> Iterator[tuple[Field, Any]]:
    """Head first."""
    yield (*CLUSTER, "headGroupSpec"), _get(job, (*CLUSTER, "headGroupSpec"))
    for index, group in _dicts(job, (*CLUSTER, "workerGroupSpecs")):
        yield (*CLUSTER, "workerGroupSpecs", index), group


def _pods(job: Any) -> Iterator[tuple[Field, Any]]:
    """Pod specs of Ray's nodes."""
    for path, group in _groups(job):
        yield (*path, "template", "spec"), _get(group, ("template", "spec")) or {}


def _containers(job: Any) -> Iterator[tuple[Field, Any]]:
    for path, pod in _pods(job):
        for index, container in _dicts(pod, ("containers",)):
            yield (*path, "containers", index), container


def _schema(job: Any) -> Iterator[Found]:
    known = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for error in known.iter_errors(job):
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            for name in sorted(error.instance.keys() - error.schema["properties"].keys()):
                yield (*path, name), "KubeRay knows no such field", f"one of {', '.join(error.schema['properties'])}"
        elif not _unset(error.instance) or error.validator == "required":
            yield path, error.message, "see KubeRay's API reference"


def _token(job: Any) -> Iterator[Found]:
    path = (*CLUSTER, "authOptions", "mode")
    mode = _get(job, path)
    if mode != "token" and not _unset(mode):
        yield path, "whoever reaches the cluster can run code on it", "authOptions: {mode: token}"


def _private(job: Any) -> Iterator[Found]:
    head = (*CLUSTER, "headGroupSpec")
    for path in ((*head, "serviceType"), (*head, "headService", "spec", "type")):
        if _get(job, path) in ("LoadBalancer", "NodePort"):
            yield path, "this opens Ray to other networks", "ClusterIP, and kubectl port-forward from outside"
    if _get(job, (*head, "enableIngress")):
        yield (*head, "enableIngress"), "this opens the dashboard to other networks", "leave it out"


def _service(document: Any) -> Iterator[Found]:
    if _of_kind(document, "Service") and _get(document, ("spec", "type")) in ("LoadBalancer", "NodePort"):
        yield ("spec", "type"), "this opens the cluster to other networks", "ClusterIP, and kubectl port-forward"
    if _of_kind(document, "Ingress"):
        yield ("kind",), "this opens the cluster to other networks", "leave it out, and use kubectl port-forward"


def _claim(document: Any) -> Iterator[Found]:
    path = ("spec", "accessModes")
    if _of_kind(document, "PersistentVolumeClaim") and _get(document, path) != ["ReadWriteMany"]:
        yield path, "the store is written from several nodes", "[ReadWriteMany]"


def _head(job: Any) -> Iterator[Found]:
    group, params = (*CLUSTER, "headGroupSpec"), (*CLUSTER, "headGroupSpec", "rayStartParams")
    for name, own in (("num-cpus", "CPU"), ("num-gpus", "GPU")):
        if "0" not in (_get(job, (*params, name)), _get(job, (*group, "resources", own))):
            yield (*params, name), f"{own}s of the head would get trials, and their load could end it", f'{name}: "0"'
    offered = f"{_get(job, (*params, 'resources'))} {_get(job, (*group, 'resources'))}"
    if "trial_driver" not in offered:
        mend = """resources: '"{\\"trial_driver\\": 1}"'"""
        yield (*params, "resources"), "drivers of distributed trials find no place on the safe node", mend


def _store(job: Any) -> Iterator[Found]:
    first: tuple[str, str] | None = None  # the head's store, and the volume that it is on
    for path, pod in _pods(job):
        container, box = _get(pod, ("containers", 0)), (*path, "containers", 0)
        store = next((one.get("value") for _, one in _dicts(container, ("env",)) if one.get("name") == STORE), None)
        volume = "" if "://" in str(store) else _volume_at(pod, container, str(store))
        if not store:
            yield (*box, "env"), "this node does not know where the store is", f"the variable {STORE}"
        elif _unset(store):
            continue
        elif volume is None:
            mend = "a persistentVolumeClaim mounted there, or a URI such as s3://bucket/folder"
            yield (*box, "volumeMounts"), f"nothing shared is mounted at the store's {store}", mend
        elif first not in (None, (store, volume)):
            yield (*box, "env"), "the store, or its volume, is another than the head's", "the same for all nodes"
        else:
            first = store, volume


def _volume_at(pod: Any, container: Any, folder: str) -> str | None:
    """The shared volume that a folder lies on."""
    mounts = [one for _, one in _dicts(container, ("volumeMounts",))]
    around = [one for one in mounts if f"{folder}/".startswith(f"{str(one.get('mountPath')).rstrip('/')}/")]
    if not around:
        return None
    name = max(around, key=lambda one: len(str(one["mountPath"]))).get("name")
    named = [one for _, one in _dicts(pod, ("volumes",)) if one.get("name") == name]
    shared = {kind: what for one in named for kind, what in one.items() if kind not in ("name", "emptyDir", "hostPath")}
    return json.dumps(shared, sort_keys=True) if shared else None


def _most(job: Any) -> Iterator[Found]:
    path = (*CLUSTER, "headGroupSpec", "template", "spec", "containers", 0, "env")
    named = [one.get("name") for _, one in _dicts(job, path)]
    if _get(job, (*CLUSTER, "enableInTreeAutoscaling")) and MOST not in named:
        what = "a sweep that starts before any GPU is there would take the cluster for one without"
        yield path, what, f"the variable {MOST}, as in cluster/kuberay.yaml"


def _resources(job: Any) -> Iterator[Found]:
    for path, container in _containers(job):
        for kind, names in (("requests", ("cpu", "memory")), ("limits", ("memory",))):
            missing = [name for name in names if not _get(container, ("resources", kind, name))]
            if missing:
                what = (
                    f"no {kind} of {', '.join(missing)}: Kubernetes packs the pod anywhere, and Ray counts the node's"
                )
                yield (*path, "resources", kind), what, f"{kind}: {{{': ..., '.join(missing)}: ...}}"


def _end(job: Any) -> Iterator[Found]:
    if _get(job, ("spec", "shutdownAfterJobFinishes")) is not True:
        yield ("spec", "shutdownAfterJobFinishes"), "the cluster would stay, and cost, after the sweep", "true"
    if not _get(job, ("spec", "ttlSecondsAfterFinished")):
        yield ("spec", "ttlSecondsAfterFinished"), "no time is left to read the logs of what failed", "600"


def _grace(job: Any) -> Iterator[Found]:
    for path, pod in _pods(job):
        grace = _get(pod, ("terminationGracePeriodSeconds",))
        if not _unset(grace) and (not isinstance(grace, int) or grace < GRACE_S):
            yield (*path, "terminationGracePeriodSeconds"), "trials are killed before they have saved", "90"


def _confined(job: Any) -> Iterator[Found]:
    for path, pod in _pods(job):
        if _get(pod, ("securityContext", "runAsNonRoot")) is not True:
            yield (*path, "securityContext", "runAsNonRoot"), "the pod may run as root", "true"
    for path, container in _containers(job):
        if _get(container, ("securityContext", "allowPrivilegeEscalation")) is not False:
            field = (*path, "securityContext", "allowPrivilegeEscalation")
            yield field, "a process may get more rights than it started with", "false"


_Rule = Callable[[Any], Iterator[Found]]
_JOB_RULES: tuple[_Rule, ...] = (_schema, _token, _private, _head, _store, _most, _resources, _end, _grace, _confined)
_OTHER_RULES: tuple[_Rule, ...] = (_service, _claim)
