#!/usr/bin/env bash
# Runs the tests on every supported Python that is installed; says aloud which ones are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# Prints the first interpreter of a version that runs and can make virtual environments.
find_python() {
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

ran=0
for version in ${PYTHONS:-3.10 3.11 3.12 3.13}; do
  python=$(find_python "$version")
  if [ -z "$python" ]; then
    echo "Python $version: not installed, SKIPPED"
    continue
  fi
  echo "Python $version: $python"
  venv=.build/venv-$version
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -e '.[dev]'
  "$venv/bin/pytest" -m 'not system and not models and not long and not gpu and not conformance' -q -p no:cacheprovider
  ran=$((ran + 1))
done
echo "tests ran on $ran Python versions"
[ "$ran" -gt 0 ]
