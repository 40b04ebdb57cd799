"""The machine: kernels, initramfs, QEMU and its channels (QMP, gdb remote protocol, console, bulk port)."""
