"""cluster/kuberay.yaml is right by KubeRay's, Kubernetes' and Ray's own words, and each fault in it is found."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config

from cluster.kubernetes import SCHEMA, problems

TEMPLATE = SCHEMA.with_name("kuberay.yaml").read_text()
FILLED = TEMPLATE.replace("maxReplicas: SET_ME", "maxReplicas: 4").replace("storage: SET_ME", "storage: 9Gi")
FILLED = FILLED.replace("SET_ME", "a")
CLUSTER = "spec.rayClusterSpec"
HEAD, TRIALS = f"{CLUSTER}.headGroupSpec", f"{CLUSTER}.workerGroupSpecs.0"
HEAD_POD, TRIALS_POD = f"{HEAD}.template.spec", f"{TRIALS}.template.spec"
HEAD_BOX, TRIALS_BOX = f"{HEAD_POD}.containers.0", f"{TRIALS_POD}.containers.0"
PARAMS = f"{HEAD}.rayStartParams"
CPU = 'requests: {cpu: "6", '
MOUNT = "- {name: results, mountPath: /results}"


def job() -> Any:
    return list(yaml.safe_load_all(FILLED))[1]


@pytest.mark.parametrize("text", [TEMPLATE, FILLED], ids=["as it is", "filled in"])
def test_the_template_has_no_problem(text: str) -> None:
    assert list(problems(text)) == []


def test_every_value_that_is_to_be_set_says_what_to_put() -> None:
    lines = [line for line in TEMPLATE.splitlines() if "SET_ME" in line and not line.startswith("#")]
    assert len(lines) == 9
    assert all("#" in line for line in lines)


def test_pods_and_claim_are_right_by_kubernetes_own_schema() -> None:
    claim, spec = next(iter(yaml.safe_load_all(FILLED))), job()["spec"]
    kubernetes_validate.validate(claim, "1.33", strict=True)
    cluster = spec["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"], {"template": spec["submitterPodTemplate"]}):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": group["template"]}
        kubernetes_validate.validate(pod, "1.33", strict=True)


def test_rays_own_autoscaler_reads_the_resources_that_are_meant() -> None:
    cluster = {"metadata": {"name": "a", "namespace": "b"}, "spec": job()["spec"]["rayClusterSpec"]}
    config = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    types = {name: one["resources"] for name, one in config["available_node_types"].items()}
    memory = {name: one.pop("memory") for name, one in types.items()}
    assert types == {
        "headgroup": {"CPU": 0, "GPU": 0, "trial_driver": 1},
        "trials": {"CPU": 6, "GPU": 1},
        "evaluators": {"CPU": 0, "evaluator": 4},
    }
    assert min(memory.values()) == 8 * 2**30


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("ttlSecondsAfterFinished:", "ttlSecondsAfterFinish:", "spec.ttlSecondsAfterFinish"),
        ("idleTimeoutSeconds: 300", "idleTimeout: 300", f"{CLUSTER}.autoscalerOptions.idleTimeout"),
        ("idleTimeoutSeconds: 120", "idleTimeoutSeconds: 2m", f"{TRIALS}.idleTimeoutSeconds"),
        ("maxReplicas: 4", 'maxReplicas: "4"', f"{TRIALS}.maxReplicas"),
        ("minReplicas: 0", "replicas: 0", TRIALS),
        ("backoffLimit: 6", "backoffLimit: six", "spec.backoffLimit"),
        ('num-gpus: "0"', "num-gpus: 0", f"{PARAMS}.num-gpus"),
        ("apiVersion: ray.io/v1", "apiVersion: ray.io/v1alpha1", "apiVersion"),
        ("mode: token", "mode: disabled", f"{CLUSTER}.authOptions.mode"),
        ("mode: token", "secretName: mine", f"{CLUSTER}.authOptions.mode"),
        ("serviceType: ClusterIP", "serviceType: LoadBalancer", f"{HEAD}.serviceType"),
        ("serviceType: ClusterIP", "serviceType: NodePort", f"{HEAD}.serviceType"),
        ("serviceType: ClusterIP", "enableIngress: true", f"{HEAD}.enableIngress"),
        ("serviceType: ClusterIP", "headService: {spec: {type: NodePort}}", f"{HEAD}.headService.spec.type"),
        ('num-gpus: "0"', 'num-gpus: "1"', f"{PARAMS}.num-gpus"),
        ('num-cpus: "0"\n        num', "num", f"{PARAMS}.num-cpus"),
        (r"""resources: '"{\"trial_driver\": 1}"'""", "", f"{PARAMS}.resources"),
        ("value: /results}", "value: /elsewhere}", f"{HEAD_BOX}.volumeMounts"),
        ("{name: TOPOSWEEP_RESULTS,", "{name: RESULTS,", f"{HEAD_BOX}.env"),
        ("{name: TOPOSWEEP_MOST,", "{name: MOST,", f"{HEAD_BOX}.env"),
        (MOUNT, "- {name: shared-memory, mountPath: /results}", f"{HEAD_BOX}.volumeMounts"),
        ("env: *environment", "env: [{name: TOPOSWEEP_RESULTS, value: 's3://a/b'}]", f"{TRIALS_BOX}.env"),
        (CPU, "requests: {", f"{TRIALS_BOX}.resources.requests"),
        ("limits: {memory: 24Gi,", "limits: {", f"{TRIALS_BOX}.resources.limits"),
        ("ttlSecondsAfterFinished: 600", "ttlSecondsAfterFinished: 0", "spec.ttlSecondsAfterFinished"),
        ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false", "spec.shutdownAfterJobFinishes"),
        ("GracePeriodSeconds: *grace", "GracePeriodSeconds: 20", f"{TRIALS_POD}.terminationGracePeriodSeconds"),
        ("terminationGracePeriodSeconds: *grace", "", f"{TRIALS_POD}.terminationGracePeriodSeconds"),
        ("runAsNonRoot: true", "runAsNonRoot: false", f"{HEAD_POD}.securityContext.runAsNonRoot"),
        ("Escalation: false", "Escalation: true", f"{HEAD_BOX}.securityContext.allowPrivilegeEscalation"),
        ("accessModes: [ReadWriteMany]", "accessModes: [ReadWriteOnce]", "spec.accessModes"),
    ],
)
def test_a_fault_is_found_with_its_line_and_field(old: str, new: str, field: str) -> None:
    assert old in FILLED
    text = FILLED.replace(old, new, 1)
    changed = FILLED[: FILLED.index(old)].count("\n") + 1
    found = [one for one in problems(text) if one.field == field]
    assert found, [(one.line, one.field, one.what) for one in problems(text)]
    assert found[0].what
    assert found[0].mend
    if f"{field.rsplit('.', 1)[-1]}:" in new:
        assert found[0].line == changed


def fields(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from fields(child, (*path, key))


@pytest.mark.parametrize("wrong", ["x", None, ["x"]], ids=repr)
def test_whatever_stands_in_a_field_the_check_goes_on(wrong: Any) -> None:
    for path in random.Random(0).sample(list(fields(job()))[1:], 30):  # all of them, once by hand, took a minute
        changed = job()
        holder = functools.reduce(lambda value, key: value[key], path[:-1], changed)
        holder[path[-1]] = wrong
        assert all(one.line and one.what for one in problems(json.dumps(changed)))


@pytest.mark.parametrize("kind", ["{kind: Service, spec: {type: LoadBalancer}}", "{kind: Ingress}"])
def test_a_document_that_opens_the_cluster_is_found(kind: str) -> None:
    (found,) = problems(f"{FILLED}---\n{kind}\n")
    assert found.line == FILLED.count("\n") + 2


def test_an_object_store_needs_no_volume() -> None:
    text = re.sub(r".*(name: results|persistentVolumeClaim: \{).*\n", "", FILLED)
    text = text.replace("value: /results}", "value: 's3://bucket/folder'}")
    assert list(problems(text)) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [", 1), ("a: 1\nb: 2\nb: 3\n", 3), ("a: 1\n", 1), ("", 1), ("- 1\n", 1), ("kind: RayJob\n", 1)],
)
def test_what_is_no_rayjob_is_said(text: str, line: int) -> None:
    found = list(problems(text))
    assert found
    assert found[0].line == line


def test_no_word_about_what_is_still_to_be_set() -> None:
    assert "SET_ME" in Path(SCHEMA.with_name("kuberay.yaml")).read_text()
    text = FILLED.replace("mode: token", "mode: SET_ME").replace("value: /results}", "value: SET_ME}")
    assert list(problems(text.replace("Seconds: &grace 90", "Seconds: &grace SET_ME"))) == []
