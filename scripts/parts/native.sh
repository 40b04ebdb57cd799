# What is compiled: the native module of the host, the program that runs in the guest, the demo schedulers.
# shellcheck disable=SC2154  # root comes from scripts/setup, the programs from debian.sh

# sources DIRECTORY...: files that a build depends on, in a stable order.
sources() { find "$@" -type f \( -name '*.[ch]' -o -name '*.py' -o -name Makefile \) | LC_ALL=C sort; }

setup_module() {
    local files want
    mapfile -t files < <(sources native | grep -vE '^native/(agent|observer|schedulers)/')
    want=$(fingerprint module -- "${files[@]}" .venv/pyvenv.cfg)
    if stamped build/stamp-module "$want" && compgen -G 'ktstr_tui/_native*.so' >/dev/null; then
        return 0
    fi
    step "building the native module"
    logged module .venv/bin/python native/build.py ||
        fail "the native module could not be built; all output is in build/log/module.log"
    stamp build/stamp-module "$want"
}

setup_guest() {
    local files want prefix
    mapfile -t files < <(sources native)
    want=$(fingerprint guest -- "${files[@]}")
    if stamped build/stamp-guest "$want" && [[ -x build/guest/ktstr-agent && -f build/guest/ktstr-observer.so && -x build/guest/ktstr-pager ]]; then
        return 0
    fi
    step "building the guest program and the demo schedulers"
    prefix=$(.venv/bin/python -m ktstr_tui.guest.libbpf 9<&-) || fail "no libbpf of 1.4 or newer (above)"
    find_clang || fail "no clang of 14 or newer" "install the Debian package clang"
    logged guest make -C native LIBBPF="$prefix" CLANG="$clang_program" OUT="$root/build/guest" ||
        fail "the guest program could not be built; all output is in build/log/guest.log"
    stamp build/stamp-guest "$want"
}
