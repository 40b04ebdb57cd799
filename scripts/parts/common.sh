# Shared by the parts of scripts/setup: what it says, how it fails, how it knows that there is nothing to do.
# shellcheck disable=SC2154  # root comes from scripts/setup, the programs from debian.sh

say() { printf 'setup: %s\n' "$*" >&2; }

# fail MESSAGE [NEXT STEP]
fail() {
    say "$1"
    [[ -z ${2-} ]] || say "$2"
    exit 3
}

# step WHAT: announce work that writes to the checkout.
step() {
    say "$1"
    [[ -w $root ]] ||
        fail "cannot write in $root" "run scripts/setup once as the owner of the checkout, or work in a clone of it"
    mkdir -p build/log
}

# logged NAME COMMAND...: run a command with its output in build/log/NAME.log; when it fails, show the end of it.
logged() {
    local name=$1
    shift
    if ! "$@" >"build/log/$name.log" 2>&1 </dev/null 9<&-; then
        tail -n 25 "build/log/$name.log" >&2
        return 1
    fi
}

# fingerprint WORD... -- FILE...: one hash of words and of the names and contents of files.
fingerprint() {
    local words=()
    while [[ $1 != -- ]]; do
        words+=("$1")
        shift
    done
    shift
    { printf '%s\n' "${words[@]}" && sha256sum -- "$@"; } | sha256sum | cut -d' ' -f1
}

# A stamp is a file that holds the fingerprint of what a step was done from.
stamped() { [[ -f $1 && $(<"$1") == "$2" ]]; }
stamp() { printf '%s\n' "$2" >"$1"; }
