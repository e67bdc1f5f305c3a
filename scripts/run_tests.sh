#!/usr/bin/env bash
# Runs all tests: those with real Airflow processes, which mostly wait, beside all others, which mostly compute.
set -euo pipefail

python=$1 testers=$2 airflows=$3
said=$(mktemp)
trap 'rm -f "$said"' EXIT

echo "Tests on real Airflow run meanwhile; what they say comes at the end."
"$python" -m pytest tests/e2e tests/browser tests/faults/airflow_kills tests/bench -m e2e \
  -n "$airflows" --no-loadscope-reorder --durations=15 >"$said" 2>&1 &
airflow=$!
# Terminating this script is to end both; Ctrl-C reaches both by itself.
trap 'kill "$airflow" 2>/dev/null; exit 143' TERM

# With a lower priority, because Airflow's heartbeats are what suffers first on a busy machine.
status=0
nice -n 5 "$python" -m pytest -m "not e2e" -n "$testers" --no-loadscope-reorder --durations=15 || status=$?
wait "$airflow" || status=$?
cat "$said"
exit "$status"
