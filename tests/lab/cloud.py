"""The user's own machine of the lab as a cloud: moto's services, S3 and EC2 among them, for the hosts alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.hosts import PROJECT, Lab
from tests.object_store import KEYS

PORT = 5000
ADDRESS = "10.77.0.10"  # the launcher's, which is first
REGION = "us-east-1"
ENVIRONMENT = {
    **KEYS,
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ENDPOINT_URL": f"http://{ADDRESS}:{PORT}",
}


@contextmanager
def running(lab: Lab, seed: int = 0) -> Iterator[None]:
    """Answers until the end; what is stored goes with it."""
    service = f"MOTO_IAM_LOAD_MANAGED_POLICIES=true exec python -m tests.object_store {seed} {ADDRESS} {PORT}"
    words = lab.launcher.words(f"cd {PROJECT} && {service}")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == str(PORT)
            yield
        finally:
            process.kill()


def ask(lab: Lab, script: str) -> str:
    """Run a script of Python on the launcher, with boto3's clients as ``ec2``, ``iam`` and ``s3``; what it prints."""
    clients = "import boto3; ec2, iam, s3 = (boto3.client(name) for name in ('ec2', 'iam', 's3'))"
    said = lab.launcher.run(["python", "-c", f"{clients}\n{script}"])
    assert said.returncode == 0, said.stdout
    return said.stdout.strip()
