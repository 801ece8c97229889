#!/usr/bin/env bash
# Checks and measures the GPU of this machine with what pack.sh has put beside this script.
#
#   run.sh [devices|cases|goldens|sequences|exhaustive|measure|bench ...]        all of them by default
#
# Writes $OUT/gpu.log and reports in JSON beside it ($OUT: by default ./out). Exit code 0: everything is equal.
# DEVICE: cuda:0 by default; cpu tries the script itself. EVERY: one of so many runs of the exhaustive checks (1: all).
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-$PWD/out}
device=${DEVICE:-cuda:0}
every=${EVERY:-64}
mkdir -p "$out"
exec > >(tee -a "$out/gpu.log") 2>&1
repops=$here/repops
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(devices cases goldens sequences exhaustive measure bench)
failed=0

# said NAME COMMAND...: runs it, says how it ended and how long it took.
said() {
    local name=$1 start=$SECONDS code
    shift
    echo "== $name: $*"
    "$@"
    code=$?
    echo "== $name: exit code $code, $((SECONDS - start)) s"
    [ $code -eq 0 ] || failed=1
}

# generated DEVICE PROGRAM ARGUMENT...: tokens, their probabilities, and the root over the rows' logs.
generated() {
    local on=$1 program=$2
    shift 2
    "$repops" generate "$program" --tokens 1,2,3,4,5,6,7 --max-tokens 40 --ignore-eos --json --device "$on" "$@" |
        grep -o '"\(tokens\|logprobs\)":\[[^]]*\]\|"trace_root":"[^"]*"'
}

# same_sequence PROGRAM ARGUMENT...: the device writes what the CPU writes. Its steps are recorded, and replayed for later rows.
same_sequence() {
    local wanted found
    wanted=$(generated cpu "$@") && found=$(generated "$device" "$@") || return 1
    [ -n "$wanted" ] && [ "$wanted" = "$found" ] && return 0
    printf 'the CPU:\n%s\n%s:\n%s\n' "$wanted" "$device" "$found"
    return 1
}

# measured: what kernels do beside the device's roofs, and, where PyTorch is, beside what others do.
measured() {
    local number=${device#cuda:} decode=()
    [ "$number" != "$device" ] || { echo "only GPUs are measured"; return 0; }
    "$repops" devices --measure "$number" --json > "$out/measured.json" || return 1
    cat "$out/measured.json"
    if [ -f "$here/models/smollm2.rep" ]; then
        decode=(--decode "$("$repops" bench "$here/models/smollm2.rep" --prefill 64 --decode 128 --hash operators --runs 5 \
            --device "$device" --json | grep -o '"decode_tokens_per_s":[0-9.]*' | cut -d: -f2)")
    fi
    # 3: there is no PyTorch.
    python3 "$here/peers.py" "$out/measured.json" --device "$device" "${decode[@]}" || [ $? -eq 3 ] || ! command -v python3
}

echo "repops on $(uname -sr), $(nproc) cores, $(ldd --version 2> /dev/null | head -1)"
command -v nvidia-smi > /dev/null && nvidia-smi -L
for part in "${parts[@]}"; do
    case $part in
        devices) said devices "$repops" devices ;;
        cases)
            for suite in "$here"/cases/*/; do
                said "cases $(basename "$suite")" "$repops" conformance replay "$suite" --device "$device"
            done
            said "cases matrix, regions as code" "$repops" conformance replay "$here/cases/matrix" --device "$device" \
                --region-code "$here/regions.json"
            ;;
        goldens)
            for suite in "$here"/goldens/*/; do
                [ -d "$suite" ] || continue
                name=$(basename "$suite")
                expect=()
                [ ! -f "$here/goldens/$name.expect.txt" ] || expect=(--expect "$here/goldens/$name.expect.txt")
                said "goldens $name" "$repops" conformance run --suite "$suite" --goldens "$here/goldens/$name.txt" "${expect[@]}" \
                    --no-reference --device "$device" -o "$out/$name.json"
            done
            ;;
        sequences)
            for program in "$here"/sequences/*.rep "$here"/models/*.rep; do
                [ -f "$program" ] || continue
                name=$(basename "$program")
                said "sequence $name" same_sequence "$program"
                said "sequence $name, regions as code" same_sequence "$program" --region-code "$here/regions.json"
                said "sequence $name, drawn" same_sequence "$program" --temperature 0.8 --top-k 40 --min-p 0.01 --seed 7 \
                    --repetition-penalty 1.1 --frequency-penalty 0.2
                said "sequence $name, of a part" same_sequence "$program" --temperature 0.8 --top-p 0.9
            done
            ;;
        exhaustive)
            said exhaustive "$repops" conformance exhaustive --device "$device" --every "$every"
            ;;
        measure) said measure measured ;;
        bench)
            for program in "$here"/cases/matrix/*.rep; do
                case $program in *.inputs.rep | *'*'*) continue ;; esac
                inputs=${program%.rep}.0.inputs.rep
                [ -f "$inputs" ] || continue
                for hash in none operators; do
                    said "bench $(basename "$program") $hash" "$repops" bench "$program" --packed "$inputs" \
                        --hash $hash --runs 20 --device "$device"
                    said "bench $(basename "$program") $hash, regions as code" "$repops" bench "$program" \
                        --packed "$inputs" --hash $hash --runs 20 --device "$device" --region-code "$here/regions.json"
                done
            done
            for program in "$here"/models/*.rep; do
                [ -f "$program" ] || continue
                for hash in none operators; do
                    said "bench $(basename "$program") $hash" "$repops" bench "$program" --prefill 512 --decode 128 \
                        --hash $hash --runs 5 --device "$device"
                    said "bench $(basename "$program") $hash, regions as code" "$repops" bench "$program" --prefill 512 \
                        --decode 128 --hash $hash --runs 5 --device "$device" --region-code "$here/regions.json"
                done
            done
            ;;
        *)
            echo "run.sh knows no $part" >&2
            failed=1
            ;;
    esac
done
exit $failed
