# What scripts/gate and scripts/gate-selftest share: builds of two revisions that do not build everything twice, and the
# programs that count. Sourced; expects `set -euo pipefail`, and to be at the root of the repository.

say() { printf 'gate: %s\n' "$*" >&2; }

# build SOURCES TARGET SEED: a release of SOURCES into the folder TARGET, which may be there from an earlier run. What SEED,
# another release of the same crates, has built of others' is taken from there: a cold build is most of ten minutes, one
# of our own crate about two.
build() {
  local sources="$1" target="$2" seed="$3"
  if [ ! -d "$target/release/deps" ] && [ -d "$seed/release/deps" ]; then
    rm -rf "$target/release.part"
    mkdir -p "$target/release.part/deps"
    # With their times: cargo goes by them. Never linked: cargo writes into what it has.
    find "$seed/release/deps" -maxdepth 1 -type f -not -name '*ringmain*' -print0 |
      xargs -0 cp -a --reflink=auto -t "$target/release.part/deps"
    cp -a --reflink=auto "$seed/release/build" "$seed/release/.fingerprint" "$target/release.part"
    rm -rf "$target/release.part/.fingerprint/ringmain-"*
    mv "$target/release.part" "$target/release"
  fi
  (cd "$sources" && CARGO_TARGET_DIR="$target" cargo build --quiet --release --locked --bin ringmain)
}

# Puts valgrind and strace on the search path: this host's, or Debian's packages unpacked into FOLDER. Where neither is to be
# had a line says so, and the gate counts the rest.
find_tools() {
  local folder="$1" tool lib
  mkdir -p "$folder/bin"
  lib="$folder/unpacked/usr/lib/$(uname -m)-linux-gnu"
  for tool in valgrind strace; do
    if command -v "$tool" >/dev/null || [ -x "$folder/bin/$tool" ]; then continue; fi
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { say "no $tool, and no apt-get to fetch it"; continue; }
    unpack "$folder" "$tool" || { say "no $tool: apt-get download failed, see $folder/apt.log"; continue; }
    # Wrappers, so that nobody else needs to know where these lie. What is traced must not get their libraries.
    case "$tool" in
      valgrind) printf '#!/bin/sh\nVALGRIND_LIB="%s" exec "%s" "$@"\n' "$(valgrind_lib "$folder")" "$folder/unpacked/usr/bin/valgrind" ;;
      strace) printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" -E LD_LIBRARY_PATH "$@"\n' "$lib" "$folder/unpacked/usr/bin/strace" ;;
    esac >"$folder/bin/$tool"
    chmod +x "$folder/bin/$tool"
    "$folder/bin/$tool" --version >/dev/null || { say "no $tool: the unpacked program does not run"; rm "$folder/bin/$tool"; }
  done
  PATH="$PATH:$folder/bin"
}

unpack() {
  local folder="$1" tool="$2" wanted
  case "$tool" in
    valgrind) wanted="valgrind" ;;
    strace) wanted="strace libunwind8 liblzma5" ;;
  esac
  mkdir -p "$folder/debs/$tool" "$folder/unpacked"
  # shellcheck disable=SC2086 # several packages
  download() { (cd "$folder/debs/$tool" && apt-get -qq download $wanted) >"$folder/apt.log" 2>&1; }
  download || { apt-get -qq update >>"$folder/apt.log" 2>&1; download; } || return 1
  local package
  for package in "$folder/debs/$tool"/*.deb; do dpkg-deb -x "$package" "$folder/unpacked" || return 1; done
}

# Debian moved it once.
valgrind_lib() {
  local found
  for found in "$1/unpacked/usr/libexec/valgrind" "$1/unpacked/usr/lib/$(uname -m)-linux-gnu/valgrind"; do
    if [ -d "$found" ]; then echo "$found"; fi
  done | head -n 1
}
