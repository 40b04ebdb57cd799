"""The stub that gdb and lldb are served through, and the file that names the kernel's symbols for them."""
