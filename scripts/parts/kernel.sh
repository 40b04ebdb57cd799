# A kernel with sched_ext, fetched once for this user.

setup_kernel() {
    local current=${XDG_CACHE_HOME:-${HOME:-}/.cache}/ktstr-tui/kernels/current
    if [[ -e $current && ! -e $current/config ]]; then
        # A kernel of an earlier version of this program came without its configuration; guests do without it, too.
        say "fetching the configuration of the kernel"
        .venv/bin/ktstr-tui kernel fetch --release "$(readlink "$current")" >&2 </dev/null 9<&- || true
        return 0
    fi
    [[ ! -e $current ]] || return 0
    say "fetching a kernel with sched_ext"
    .venv/bin/ktstr-tui kernel fetch >&2 </dev/null 9<&- ||
        fail "no kernel could be fetched (above)" "or bring your own: scripts/run --kernel PATH"
}
