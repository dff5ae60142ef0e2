#!/usr/bin/env bash
# Runs the tests on every supported Python that is installed; says aloud which ones are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
ran=0
for version in 3.10 3.11 3.12 3.13; do
  python=$(command -v "python$version" || ls -d "$HOME"/.pyenv/versions/"$version".*/bin/python 2>/dev/null | tail -n 1 || true)
  if [ -z "$python" ] || ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "Python $version: not installed, SKIPPED"
    continue
  fi
  echo "Python $version: $python"
  venv=.build/venv-$version
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -e '.[dev]'
  "$venv/bin/pytest" -m 'not system' -q -p no:cacheprovider
  ran=$((ran + 1))
done
echo "tests ran on $ran Python versions"
[ "$ran" -gt 0 ]
