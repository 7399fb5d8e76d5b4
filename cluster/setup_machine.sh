#!/usr/bin/env bash
# Sets up a machine of a cluster: what every command there finds in its environment, and Python's packages.
# usage: TOPOSWEEP_RESULTS=PATH_OR_URI setup_machine.sh [aws|gcp|azure]   the cloud whose machines the head starts
set -euo pipefail
: "${TOPOSWEEP_RESULTS:?where results go}"

cat > ~/.toposweep.sh <<END
export TOPOSWEEP_RESULTS="$TOPOSWEEP_RESULTS"
export HF_HOME="${HF_HOME:-$HOME/.cache/huggingface}"
export PATH="$HOME/venv/bin:\$PATH"
export RAY_AUTH_MODE=token
# A machine that is cut off is given up after about 20 s; Ray's defaults take a minute, and what it did waited for long.
export RAY_health_check_period_ms=2000 RAY_health_check_timeout_ms=3000 RAY_health_check_failure_threshold=4
export RAY_grpc_client_keepalive_time_ms=5000 RAY_grpc_client_keepalive_timeout_ms=5000
# Without the head nothing goes on: the other machines' Ray ends after 20 s, not 60.
export RAY_gcs_rpc_server_reconnect_timeout_s=20
END
grep -qs '^source ~/.toposweep.sh' ~/.bashrc || echo 'source ~/.toposweep.sh' >> ~/.bashrc
chmod 600 ~/.ray/auth_token

cd "$(dirname "$0")/.."
wanted="$(sha256sum setup.cfg constraints.txt) ${1:-}"
if [ "$(cat ~/venv/installed 2>/dev/null)" != "$wanted" ]; then
    python3 -m venv ~/venv || { sudo apt-get update && sudo apt-get install -y python3-venv && python3 -m venv ~/venv; }
    ~/venv/bin/pip install --quiet -e ".${1:+[$1]}" -c constraints.txt
    echo "$wanted" > ~/venv/installed
fi
if [ -f ~/ray_bootstrap_config.yaml ]; then # on the head, where drivers run
    echo "export TOPOSWEEP_MOST='$(~/venv/bin/python -m cluster.most ~/ray_bootstrap_config.yaml)'" >> ~/.toposweep.sh
fi
