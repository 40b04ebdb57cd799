# Programs and libraries of the distribution: the only step that needs root. QEMU is not among them, see qemu.sh.

# Sets clang_program to the newest clang of at least 14, found as `clang` or as Debian's `clang-N`.
find_clang() {
    local candidate version best=13
    clang_program=""
    for candidate in clang $(compgen -c clang- | grep -xE 'clang-[0-9]+' | sort -u); do
        version=$("$candidate" -dumpversion 2>/dev/null) || continue
        version=${version%%.*}
        if [[ $version =~ ^[0-9]+$ ]] && ((version > best)); then
            best=$version
            clang_program=$(command -v "$candidate")
        fi
    done
    [[ -n $clang_program ]]
}

# Whether that clang can link libFuzzer and the sanitizers; its packages come without them.
has_sanitizers() {
    local runtime
    runtime=$("$clang_program" -print-resource-dir)/lib
    any "$runtime"/linux/libclang_rt.fuzzer-x86_64.a "$runtime"/x86_64*/libclang_rt.fuzzer.a
}

# The package that has them: that of the clang found, or else of the one that would be installed.
sanitizers_package() {
    local version=""
    [[ -z $clang_program ]] || version=$("$clang_program" -dumpversion)
    echo "libclang-rt-${version:+${version%%.*}-}dev"
}

# Sets python_program to a Python of at least 3.11 that can make virtual environments and has its C headers.
find_python() {
    local candidate check
    check='import ensurepip, os, sys, sysconfig, venv
sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
    for candidate in ${KTSTR_PYTHON:+"$KTSTR_PYTHON"} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        python_program=$(command -v "$candidate") || continue
        if "$python_program" -I -c "$check" 2>/dev/null; then
            return 0
        fi
    done
    python_program=""
    return 1
}

# any FILE...: whether one of the files exists.
any() {
    local file
    for file in "$@"; do
        [[ ! -e $file ]] || return 0
    done
    return 1
}

# missing_to_build: those without which nothing can be compiled; setup.py asks too, when it builds a wheel.
missing_to_build() {
    command -v gcc >/dev/null || echo gcc
    command -v make >/dev/null || echo make
    find_clang || echo clang
    any /usr/lib{,64,/*-linux-gnu}/libc.a || echo libc6-dev
    any /usr/lib{,64,/*-linux-gnu}/libelf.a || echo libelf-dev
    any /usr/lib{,64,/*-linux-gnu}/libz.a || echo zlib1g-dev
    any /usr/lib{,64,/*-linux-gnu}/libzstd.a || echo libzstd-dev
}

# missing_packages DEV: the Debian packages of which something needed here is missing, one per line.
missing_packages() {
    missing_to_build
    [[ -x .venv/bin/python ]] || find_python || printf '%s\n' python3-venv python3-dev
    (($1 == 0)) || command -v tmux >/dev/null || echo tmux
    (($1 == 0)) || command -v trace-cmd >/dev/null || echo trace-cmd
    (($1 == 0)) || command -v bpftool >/dev/null || any /usr/sbin/bpftool || echo bpftool
    (($1 == 0)) || command -v gdb >/dev/null || echo gdb
    (($1 == 0)) || command -v lldb >/dev/null || echo lldb
    (($1 == 0)) || { find_clang && has_sanitizers; } || sanitizers_package
}

# Set by hand what apt would ask for, and wait for another apt instead of failing.
apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

install_packages() { apt_get install --no-install-recommends "$@"; }

# get_packages PACKAGE...: install them, or say what to do.
get_packages() {
    command -v apt-get >/dev/null ||
        fail "missing: $* (as Debian names the packages), and this machine has no apt-get" \
            "install what provides them, then run this again"
    ((EUID == 0)) ||
        fail "missing Debian packages: $*" \
            "run: sudo apt-get update && sudo apt-get install --no-install-recommends $*"
    step "installing Debian packages: $*"
    if ! install_packages "$@" >build/log/apt-install.log 2>&1 </dev/null 9<&-; then
        say "not with the package lists of this machine as they are; updating them"
        logged apt-update apt_get update || say "apt-get update had problems (above); going on with what it got"
        logged apt-install install_packages "$@" ||
            fail "apt-get could not install $*; all of its output is in build/log/apt-install.log" \
                "check the network and the machine's apt sources, then run this again"
    fi
}

setup_debian() {
    local missing
    mapfile -t missing < <(missing_packages "$1")
    ((${#missing[@]})) || return 0
    get_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages "$1")
    if ((${#missing[@]})); then
        fail "still missing after apt-get installed them: ${missing[*]}; the release of this machine is too old" \
            "Debian 12, Ubuntu 24.04 and newer have what is needed: Python 3.11, clang 14"
    fi
}
