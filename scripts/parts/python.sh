# The virtual environment and the locked Python packages in it.
# shellcheck disable=SC2154  # root comes from scripts/setup, the programs from debian.sh

# The environment belongs to one place and one Python: a moved checkout or an upgraded Python makes it anew.
setup_python() {
    local lock=requirements.txt name=run want minor=""
    if (($1)); then
        lock=requirements-dev.txt name=dev
    fi
    if [[ -x .venv/bin/python ]]; then
        minor=$(.venv/bin/python -ISc 'import sys; print("%d.%d" % sys.version_info[:2])') || minor=""
    fi
    if [[ -z $minor || ! -d .venv/lib/python$minor ]] || ! stamped .venv/stamp-place "$root"; then
        make_environment
    fi
    want=$(fingerprint "$name" -- "$lock" pyproject.toml scripts/parts/python.sh .venv/pyvenv.cfg)
    # What the tests need includes what running needs.
    if stamped ".venv/stamp-$name" "$want" || { [[ $name == run ]] && dev_is_current; }; then
        return 0
    fi
    install_locked "$lock"
    stamp ".venv/stamp-$name" "$want"
}

dev_is_current() {
    stamped .venv/stamp-dev \
        "$(fingerprint dev -- requirements-dev.txt pyproject.toml scripts/parts/python.sh .venv/pyvenv.cfg)"
}

make_environment() {
    # Clearing a link would empty what it leads to, which may be the environment of another checkout.
    [[ ! -L .venv ]] || fail ".venv is a link to $(readlink .venv), which belongs to another checkout" "remove the link"
    find_python || fail "no Python of 3.11 or newer with venv and its C headers was found" \
        "install one (Debian: python3-venv python3-dev) or name it in KTSTR_PYTHON"
    step "making .venv with $("$python_program" -V) ($python_program)"
    logged venv "$python_program" -m venv --clear .venv || fail "could not make .venv" "see build/log/venv.log"
    stamp .venv/stamp-place "$root"
}

# Wheels only and nothing without a hash; then the package itself, built by what was just installed.
install_locked() {
    local pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
    step "installing Python packages from $1"
    logged pip "${pip[@]}" install --require-hashes --only-binary :all: -r "$1" ||
        fail "pip could not install the packages of $1; all of its output is in build/log/pip.log" \
            "check the network and pip's configuration (pip config list), then run this again"
    logged pip-self "${pip[@]}" install --no-deps --no-index --no-build-isolation --editable . ||
        fail "pip could not install the checkout itself; see build/log/pip-self.log"
    # A quarter of a second of each start, for whoever lets Python write no compiled files.
    .venv/bin/python -m compileall -q ktstr_tui || true
}
