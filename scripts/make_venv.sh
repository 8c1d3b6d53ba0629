#!/bin/sh
# Makes the virtual environment $1 with the first Python that is new enough, or says what is missing.
set -eu
venv=$1
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "${python:-}" ]; then
    found=$("${PYTHON:-python3}" --version 2>&1) || found="no ${PYTHON:-python3}"
    echo "error: Python 3.11 or newer is needed, found: $found. Install it, or name one: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "error: $python has no venv module. On Debian or Ubuntu: apt-get install python$version-venv" >&2
    exit 1
fi
echo "making $venv with $("$python" --version)"
rm -rf "$venv"
"$python" -m venv "$venv"
