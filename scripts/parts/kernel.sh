# A kernel with sched_ext, fetched once for this user.

setup_kernel() {
    local current=${XDG_CACHE_HOME:-${HOME:-}/.cache}/ktstr-tui/kernels/current
    [[ ! -e $current ]] || return 0
    say "fetching a kernel with sched_ext"
    .venv/bin/ktstr-tui kernel fetch >&2 </dev/null 9<&- ||
        fail "no kernel could be fetched (above)" "or bring your own: scripts/run --kernel PATH"
}
