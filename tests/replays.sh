# Compares runs of sim: a function for scripts that run in the repository, to be sourced.
# shellcheck shell=bash

# Whether commands give the same run: replays "ARGUMENTS" "COMMAND"...
# A command is a word or several; the arguments stand in place of {}, or at its end, and a seed and --json are added. Of
# what it prints all must be equal but what tells of the machine.
replays() {
  python3 - "$@" <<'PY'
import json, shlex, subprocess, sys

TELLS_OF_THE_MACHINE = {"wall_s", "cpu_s", "peak_rss_bytes", "machine", "build_profile", "workers", "version"}


def of_the_run(value):
    """What must be the same wherever it runs."""
    if isinstance(value, dict):
        return {key: of_the_run(part) for key, part in value.items() if key not in TELLS_OF_THE_MACHINE}
    return [of_the_run(part) for part in value] if isinstance(value, list) else value


def differences(path, one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(f"{path}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, pair in enumerate(zip(one, other)):
            yield from differences(f"{path}.{at}", *pair)
    elif one != other:
        yield f"{path[1:]}: {one} and {other}"


def traces(value):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from ([part] if key == "trace_hash" else traces(part))
    elif isinstance(value, list):
        for part in value:
            yield from traces(part)


arguments, *commands = sys.argv[1:]
runs = []
for command in commands:
    line = command.replace("{}", arguments) if "{}" in command else f"{command} {arguments}"
    words = shlex.split(line) + ["--seed", "7", "--json"]
    # A promise that is not held (3) is an outcome like any other.
    ran = subprocess.run(words, capture_output=True, text=True)
    if ran.returncode not in (0, 3):
        sys.exit(f"{shlex.join(words)}: exit code {ran.returncode}\n{ran.stderr}")
    runs.append((ran.returncode, of_the_run(json.loads(ran.stdout.splitlines()[-1]))))
found = sorted(set(traces(runs[0][1])))
if len(found) != 1:
    sys.exit(f"{arguments}: {len(found)} traces where one is due")
for command, run in zip(commands[1:], runs[1:]):
    unequal = list(differences("", *({"exit_code": code, **told} for code, told in (runs[0], run))))
    if unequal:
        sys.exit(f"{arguments}: {commands[0]} and {command} differ in\n  " + "\n  ".join(unequal[:10]))
print(f"{arguments}: the same {len(runs)} times, trace {found[0]}")
PY
}
