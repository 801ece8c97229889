#!/usr/bin/env bash
# Packs what a machine with a GPU needs to be checked and measured, without Rust, LLVM or a CUDA toolkit there.
#
#   conformance/gpu/pack.sh OUT [NODE_CASES_FOLDER]
#
# writes OUT/ (at most MOST_MIB, by default 96): `repops` without the compiler, cases as programs with inputs and, with their
# goldens, as suites, small language models, and run.sh. The folder of node cases is what conformance/node_cases.py wrote (`node/` and
# others in it); without it only the matrix of small models is packed. PROFILE=release (the default) or dev; COMPILER: a
# `repops-compiler` that compiles the cases, by default the one of the same profile; SUITES: which of the folder's suites, by default
# `node`; MODELS: the folder of real models that `--suite` takes, to check against goldens/models.txt; SEQUENCES: further language
# models as .rep files, to check and to time (`smollm2.rep` beside PyTorch, too); CUBINS=no: without machine code
# for GPUs, so that the driver compiles the PTX.
set -euo pipefail
out=$(mkdir -p "${1:?where to}" && cd "$1" && pwd)
cases=${2:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
profile=${PROFILE:-release}
folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
target=${CARGO_TARGET_DIR:-$root/target}

cd "$root"
compiler=${COMPILER:-}
if [ -z "$compiler" ]; then
    cargo build --profile "$profile" -p repops-cli
    compiler=$out/.compiler
    cp "$target/$folder/repops-compiler" "$compiler"
fi
# Machine code for GPUs beside the PTX; it takes NVIDIA's assembler, which xtask fetches.
features=()
if [ "${CUBINS:-yes}" != no ]; then
    cargo xtask cuda cubins
    features=(--features cubins)
fi
cargo build --profile "$profile" -p repops-cli --no-default-features "${features[@]}"
cp "$target/$folder/repops" "$out/repops"
strip "$out/repops"

mkdir -p "$out/cases"
[ -z "$cases" ] || "$compiler" conformance pack --suite node --folder "$cases" -o "$out/cases/node"
"$compiler" conformance pack --suite matrix --folder conformance --most 8192 -o "$out/cases/matrix"
# packed NAME SUITE: a suite with its data, its goldens and what is known not to pass.
packed() {
    "$compiler" conformance pack --with-data --suite "$2" --folder "$cases" -o "$out/goldens/$1"
    cp "conformance/goldens/$1.txt" "$out/goldens/$1.txt"
    [ ! -f "conformance/known/$1.txt" ] || cp "conformance/known/$1.txt" "$out/goldens/$1.expect.txt"
}
mkdir -p "$out/goldens"
[ -z "$cases" ] || for suite in ${SUITES:-node}; do packed "$suite" "$suite"; done
[ -z "${MODELS:-}" ] || packed models "$(cd "$MODELS" && pwd)"
mkdir -p "$out/sequences"
for model in conformance/decoders/*.gguf; do
    "$compiler" compile "$model" -o "$out/sequences/$(basename "$model" .gguf).rep"
done
mkdir -p "$out/models"
for program in ${SEQUENCES:-}; do cp "$program" "$out/models/"; done
# Code of fused steps, which takes LLVM to make.
find "$out" -name '*.rep' ! -name '*.inputs.rep' -path '*/matrix/*' -print0 -o -path "$out/sequences/*.rep" -print0 -o \
    -path "$out/models/*.rep" -print0 | xargs -0 "$compiler" region-code -o "$out/regions.json"
rm -f "$out/.compiler"
cp "$here/run.sh" "$here/peers.py" "$out/"
cp LICENSE "$out/"

# What the loader over there must have: a system at least as new as this one's libc.
{
    echo "commit $(git rev-parse HEAD)"
    echo "needs glibc $(objdump -T "$out/repops" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d_ -f2) or newer, and these libraries:"
    objdump -p "$out/repops" | awk '/NEEDED/ { print "  " $2 }'
} > "$out/NEEDS"
cat "$out/NEEDS"
size=$(du -sm --apparent-size "$out" | cut -f1)
echo "$size MiB in $out"
[ "$size" -le "${MOST_MIB:-96}" ] || { echo "more than ${MOST_MIB:-96} MiB" >&2; exit 1; }
