"""A typed view of a kernel's memory, with nothing but the memory itself.

Everything that is needed to read a running kernel by type is in its RAM: where it was loaded (the vmcoreinfo
note), its symbols (kallsyms), its types (BTF) and how to unwind its stacks (ORC). This room puts them
together. It neither starts guests nor stops them.
"""
