#!/usr/bin/env bash
# Holds reports to a baseline, and writes what came of it to the summary of the job:
#   gate.sh FOLDER BASELINE
set -euo pipefail
bootstrap=$(dirname -- "${BASH_SOURCE[0]}")/../bootstrap
status=0
table=$("$bootstrap" mesh-conformance gate "$1" --baseline "$2" 2>&1) || status=$?
printf '%s\n' "$table"
printf '## Gate: %s\n\n```text\n%s\n```\n' \
    "$([ "$status" = 0 ] && echo open || echo shut)" "$table" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
exit "$status"
