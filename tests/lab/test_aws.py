"""cluster/aws.yaml against moto's EC2, with addresses and keys put in: as far as machines that run, and their end.

A machine of EC2 is a host of the lab with its address, so there is one of each type; no trial is run on them, since
none has the GPU that its type promises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.lab import cloud
from tests.lab.cluster import CONFIG, Cluster, filled
from tests.lab.hosts import PROJECT, Lab, lacking

pytestmark = [pytest.mark.lab, pytest.mark.skipif(lacking() is not None, reason=f"a lab of hosts {lacking()}")]
NAMES = ("head", "worker1", "worker2")
TYPES = {"head": "head", "gpu_spot": "worker1", "evaluators": "worker2"}
NETWORK = """
import json
vpc = ec2.create_vpc(CidrBlock="10.77.0.0/24")["Vpc"]["VpcId"]
subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.0.0/24")["Subnet"]["SubnetId"]
group = ec2.create_security_group(GroupName="mine", Description="mine", VpcId=vpc)["GroupId"]
ec2.create_key_pair(KeyName="mine")
iam.create_instance_profile(InstanceProfileName="mine")
image = ec2.describe_images()["Images"][0]["ImageId"]
print(json.dumps([subnet, group, image]))
"""
STATES = """
found = ec2.describe_instances()["Reservations"]
print(sorted(one["State"]["Name"] for each in found for one in each["Instances"]))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(NAMES, extra="aws", environment=cloud.ENVIRONMENT) as built, cloud.running(built):
        yield built


def config(lab: Lab) -> str:
    """The template as a user fills it; and for the lab, one machine of each type at the address of its host."""
    subnet, group, image = json.loads(cloud.ask(lab, NETWORK))
    values = {"region": cloud.REGION, "ssh_private_key": "~/.ssh/id_ed25519", "image": image, "key": "mine"}
    values |= {"subnets": subnet, "groups": group, "Name": "mine", "TOPOSWEEP_RESULTS": "s3://lab/results"}
    text = filled(PROJECT / "cluster/aws.yaml", values)
    text = text.replace("min_workers: 0", "min_workers: 1")  # they come unasked
    for kind, name in TYPES.items():
        address = f"\\1            PrivateIpAddress: {lab.hosts[name].address}\n"
        text, count = re.subn(rf"(    {kind}:.*?node_config:\n)", address, text, count=1, flags=re.S)
        assert count == 1
    return text


def test_machines_are_started_set_up_and_ended(lab: Lab) -> None:
    cluster = Cluster(lab, lab.hosts["head"])
    cluster.make_token()
    text = config(lab)
    (lab.launcher.root / "cluster.yaml").write_text(text)
    said = lab.launcher.run(f"cd {PROJECT} && python sweep.py cluster check {CONFIG}", env=cluster.environment)
    assert (said.returncode, said.stdout) == (0, f"{CONFIG}: nothing is wrong with it\n")
    cluster.up(text, machines=3)
    assert cloud.ask(lab, STATES) == "['running', 'running', 'running']"
    cluster.wait(lambda: "/8.0 evaluator" in cluster.status(), "evaluators", cluster.status)
    status = cluster.status()
    for resource in ("/1.0 GPU", "/1.0 trial_driver"):
        assert resource in status, status
    asked = "import ray; from orchestrator.capacity import capacity; ray.init('auto'); print(capacity())"
    most = cluster.head.run(f'. ~/.toposweep.sh; cd {PROJECT}; python -c "{asked}" 2>/dev/null').stdout
    for resource in ("'GPU': 4.0", "'evaluator': 8.0", "'trial_driver': 1.0"):  # three GPU machines are not there yet
        assert resource in most, most
    for name in ("worker1", "worker2"):
        host = lab.hosts[name]  # the watch starts once Ray is seen to have held for 10 s
        cluster.wait(
            lambda host=host: any("cluster.spot aws" in line for line in host.processes()), "watch", cluster.status
        )
        assert "TOPOSWEEP_RESULTS=s3://lab/results" in lab.hosts[name].run(". ~/.bashrc; env").stdout
    said = cluster.ray(f"down -y {CONFIG}")
    assert said.returncode == 0, said.stdout
    cluster.wait(lambda: "running" not in cloud.ask(lab, STATES), "end of the machines", lambda: cloud.ask(lab, STATES))
