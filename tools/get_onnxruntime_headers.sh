#!/usr/bin/env bash
# Fetches the headers of ONNX Runtime's C API into build/onnxruntime-headers and prints that folder, for
# FASTFORMERS_ORT_HEADERS. Debian has them in a package from trixie on; older Debian fetches that package without installing
# it, from the mirror that apt uses here. Needs apt-get and dpkg-deb, no root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PACKAGE=libonnxruntime-dev SUITE=trixie
readonly TARGET=$PWD/build/onnxruntime-headers
readonly HEADERS=$TARGET/usr/include/onnxruntime
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

if [[ -f $HEADERS/onnxruntime_cxx_api.h ]]; then
  echo "$HEADERS"
  exit 0
fi
command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null ||
  { echo "apt-get and dpkg-deb are needed; elsewhere take the headers of an ONNX Runtime release, 1.21 or newer" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1) || true
[[ -n $mirror ]] || { echo "apt has no mirror of Debian among its sources" >&2; exit 1; }

state=$(mktemp -d)
trap 'rm -r "$state"' EXIT
mkdir -p "$state/lists/partial" "$TARGET"
echo "deb [signed-by=$KEYRING] $mirror $SUITE main" > "$state/sources.list"
options=(-qq -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$state/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o "APT::Sandbox::User=")
apt-get "${options[@]}" update >&2
(cd "$state" && apt-get "${options[@]}" download "$PACKAGE" >&2)
dpkg-deb -x "$state/$PACKAGE"_*.deb "$TARGET"
echo "$HEADERS"
