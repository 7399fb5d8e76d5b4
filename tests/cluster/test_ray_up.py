"""Files for ``ray up``: planted faults are found with their lines, and a machine is set up as they say."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster import jobs, ray_up
from tests.cluster.templates import FOLDER, TEMPLATES, filled

HEAD, WORKER = "available_node_types.head", "available_node_types.gpu_spot"
FAULTS = [  # template, what stands there, what is put there, field, what is said of it
    ("aws", "max_workers: 5", "max_wokers: 5", "max_wokers", "knows no such field"),
    ("aws", "max_workers: 5", "max_workers: many", "max_workers", "is not of type"),
    ("aws", "head_node_type: head", "head_node_type: hed", "", "must be one of"),
    ("aws", "use_internal_ips: true", "use_internal_ips: false", "provider.use_internal_ips", "public addresses"),
    ("aws", "SecurityGroupIds: &groups", "Groups: &groups", f"{HEAD}.node_config.SecurityGroupIds", "ssh in from"),
    ("aws", "HttpTokens: required", "CidrIp: 0.0.0.0/0", f"{HEAD}.node_config.MetadataOptions.CidrIp", "everybody"),
    ("aws", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "head_start_ray_commands.2", "listens to other"),
    ("aws", "    ~/.ray/auth_token: ~/.ray/auth_token\n", "", "file_mounts", "no token"),
    ("aws", '"CPU": 2, "trial_driver": 1', '"CPU": 2', f"{HEAD}.resources", "find no place"),
    ("aws", "resources: {} # as", 'resources: {"trial_driver": 1} # as', f"{WORKER}.resources.trial_driver", "come"),
    ("aws", "InstanceType: m7i.xlarge", "MarketType: spot", f"{HEAD}.node_config", "taken away"),
    ("aws", "s3://b/r", "/home/ubuntu/results", "setup_commands.0", "on the disk of each machine alone"),
    ("aws", "s3://b/r", "results", "setup_commands.0", "another folder on each machine"),
    ("aws", "TOPOSWEEP_RESULTS=s3://b/r bash", "bash", "setup_commands", "not told where results go"),
    ("aws", "idle_timeout_minutes: 10", "idle_timeout_minutes: 0", "idle_timeout_minutes", "and cost"),
    ("aws", "TagSpecifications: &tags", "OtherTags: &tags", f"{HEAD}.node_config", "without TagSpecifications"),
    ("aws", "python -m cluster.spot", "python -m cluster.spt", "worker_start_ray_commands", "taken away"),
    ("aws", 'test "$RAY_AUTH_MODE" = token ||', "true ||", "head_start_ray_commands.2", "without asking for the token"),
    ("aws", "bash ~/toposweep/cluster/setup_machine.sh aws", "pip install .", "setup_commands", "ask for the token"),
    ("gcp", "[{subnetwork: 10.0.0.9}]", "[{accessConfigs: [{type: ONE_TO_ONE_NAT}]}]",
     f"{HEAD}.node_config.networkInterfaces.0.accessConfigs.0.type", "public address"),
    ("gcp", "            labels: {project: toposweep}\n", "", f"{HEAD}.node_config", "without labels"),
    ("azure", "    tags: {project: toposweep}\n", "", "provider.tags", "without tags"),
    ("on_premises", "    head_ip: 10.0.0.9", "    head: 10.0.0.9", "provider", "head_ip"),
    ("on_premises", "/mnt/r", "~/results", "setup_commands.0", "another folder on each machine"),
    ("on_premises", """--resources='{"trial_driver": 1}'""", "", "head_start_ray_commands", "find no place"),
    ("on_premises", "auth:\n", "auth: [\n", "", "not YAML"),
    ("on_premises", "cluster_name: toposweep", "cluster_name: a\ncluster_name: b", "", "there twice"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "there", "planted", "field", "what"), FAULTS)
def test_a_planted_fault_is_found_with_its_line(name: str, there: str, planted: str, field: str, what: str) -> None:
    text = filled(name)
    assert there in text
    text = text.replace(there, planted, 1)
    said = list(ray_up.problems(text))
    found = [one for one in said if one.field == field and what in one.what]
    assert found, said
    line = text.splitlines()[found[0].line - 1]
    key = [word for word in field.split(".") if not word.isdigit()][-2:]  # what holds it, where it is not there
    assert not field or field.startswith(("setup", "head_start")) or any(word in line for word in key), (found, line)


def test_what_is_no_cluster_is_told() -> None:
    assert [one.what for one in ray_up.problems("- a\n")] == ["this is no cluster for ray up"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_all_code_is_mounted(name: str) -> None:
    """A new package or file of the top level is not to be forgotten."""
    mounted = set(yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["file_mounts"].values())
    setup = configparser.ConfigParser()
    setup.read(jobs.PROJECT / "setup.cfg")
    packages = {one.rstrip("*") for one in setup["options.packages.find"]["include"].split()}
    modules = {f"{one}.py" for one in setup["options"]["py_modules"].split()}
    files = {"setup.cfg", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "~/.ray/auth_token"}
    assert mounted == packages | modules | files


@pytest.mark.parametrize("kind", ["head_start_ray_commands", "worker_start_ray_commands"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_ray_is_not_started_where_it_would_ask_for_no_token(name: str, kind: str) -> None:
    """A command that fails keeps ``ray up`` from the ones after it."""
    first, *others = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())[kind]
    assert "ray start" not in first
    assert any("ray start" in one for one in others)
    ends = [
        subprocess.run(["bash", "-c", first], env={"RAY_AUTH_MODE": mode}, capture_output=True).returncode
        for mode in ("token", "disabled", "")
    ]
    assert ends == [0, 1, 1]


def test_a_machine_is_set_up_once(tmp_path: Path) -> None:
    """With pip's part done already, as nothing is downloaded here: what it writes, twice the same."""
    project, home = tmp_path / "toposweep", tmp_path
    (project / "cluster").mkdir(parents=True)
    for name in ("setup.cfg", "constraints.txt", "cluster/setup_machine.sh"):
        (project / name).write_bytes((jobs.PROJECT / name).read_bytes())
    (home / "venv").mkdir()
    sums = subprocess.run(["sha256sum", "setup.cfg", "constraints.txt"], cwd=project, capture_output=True, text=True)
    (home / "venv" / "installed").write_text(f"{sums.stdout.strip()} ")
    command = ["bash", str(project / "cluster" / "setup_machine.sh")]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    results = {"TOPOSWEEP_RESULTS": "s3://b/r"}
    assert subprocess.run(command, env=environment | results, capture_output=True).returncode != 0  # no token
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0")
    assert subprocess.run(command, env=environment, capture_output=True).returncode != 0  # no place for results
    for _ in range(2):
        subprocess.run(command, env=environment | results, check=True)
    assert "TOPOSWEEP_MOST" not in (home / ".toposweep.sh").read_text()
    (home / "venv" / "bin").mkdir()
    (home / "venv" / "bin" / "python").symlink_to(sys.executable)
    (home / "ray_bootstrap_config.yaml").write_text(filled("gcp"))  # as on the head
    subprocess.run(command, env=environment | results | {"PYTHONPATH": str(jobs.PROJECT)}, check=True)
    said = subprocess.run(
        ["bash", "-c", ". ~/.toposweep.sh; echo $TOPOSWEEP_MOST"], env=environment, capture_output=True
    )
    assert json.loads(said.stdout)["GPU"] == 4
    assert (home / ".bashrc").read_text() == "source ~/.toposweep.sh\n"
    profile = (home / ".toposweep.sh").read_text()
    assert 'export TOPOSWEEP_RESULTS="s3://b/r"' in profile
    assert "export RAY_AUTH_MODE=token" in profile
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
