# A QEMU that emulates on several threads: the system's, or one fetched for this user alone.
# shellcheck disable=SC2154  # get_packages comes from debian.sh

# What can be fetched tomorrow is not asked for at each start: one attempt a day, as long as an old one is there.
setup_qemu() {
    local want
    want=$(fingerprint "$(date +%F)" "${KTSTR_QEMU-}" "$(command -v qemu-system-x86_64)" -- ktstr_tui/guest/qemu_fetch.py)
    if stamped build/stamp-old-qemu "$want"; then
        return 0
    fi
    if .venv/bin/python -m ktstr_tui.guest.qemu_fetch >/dev/null </dev/null 9<&-; then
        return 0
    fi
    if command -v qemu-system-x86_64 >/dev/null; then
        mkdir -p build
        stamp build/stamp-old-qemu "$want"
    else
        get_packages qemu-system-x86
    fi
}
