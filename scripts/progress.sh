#!/bin/sh
# Runs a quiet command and shows that it is alive: one line that counts the seconds. Its output is shown only if it fails.
# Usage: scripts/progress.sh LABEL COMMAND [ARG ...]
label=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$@" >"$log" 2>&1 &
job=$!
trap 'kill $job 2>/dev/null; exit 130' INT TERM
seconds=0
while kill -0 $job 2>/dev/null; do
    if [ -t 1 ]; then
        printf '\r%s … %ds ' "$label" $seconds
    elif [ $((seconds % 15)) -eq 0 ]; then
        printf '%s … %ds\n' "$label" $seconds
    fi
    sleep 1
    seconds=$((seconds + 1))
done
if wait $job; then
    [ -t 1 ] && printf '\r'
    printf '%s: done in %ds\n' "$label" $seconds
else
    status=$?
    printf '\n%s failed:\n' "$label" >&2
    cat "$log" >&2
    exit $status
fi
