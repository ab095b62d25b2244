# What the tests and the benchmarks need: functions for scripts that run in the repository, to be sourced.
# shellcheck shell=bash

libtorrent_version=2.1.1
peers_venv=target/peers-venv

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 2; }

# Starts a script again as root: as_root SCRIPT "$@". sudo forgets where cargo and its toolchains are: we tell it.
as_root() {
  if [[ $EUID -ne 0 ]] && command -v sudo >/dev/null; then
    exec sudo env "PATH=$PATH" "FUZZ_SECS=${FUZZ_SECS:-}" "CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" \
      "./$1" "${@:2}"
  fi
}

# Installs Debian packages whose programs are missing: install_packages PROGRAM:PACKAGE...
install_packages() {
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then missing+=(python3-venv); fi
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null || die "please install: ${missing[*]}"
  say "install ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# Installs what rustup has of the standard library for another machine: install_rust_target TRIPLE
install_rust_target() {
  [[ -d $(rustc --print sysroot)/lib/rustlib/$1 ]] && return 0
  command -v rustup >/dev/null || die "please install the Rust standard library for $1"
  say "install the Rust standard library for $1"
  rustup target add "$1"
}

install_python_peers() {
  "$peers_venv/bin/python" -c "import libtorrent as l; assert l.__version__.startswith('$libtorrent_version')" \
    2>/dev/null && return 0
  say "install libtorrent $libtorrent_version into $peers_venv"
  rm -rf "$peers_venv"
  python3 -m venv "$peers_venv"
  "$peers_venv/bin/pip" install --quiet --disable-pip-version-check "libtorrent==$libtorrent_version"
}
