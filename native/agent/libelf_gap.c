// SPDX-License-Identifier: MIT
//
// Fills a gap in some static libelfs. The libelf.a of elfutils 0.192 calls functions of a library that is not
// installed with it. They keep the tree behind elf_getdata_rawchunk(), which libbpf does not use: without it
// there is nothing to set up and nothing to free. Weak, so that a libelf.a with the real ones in it wins as
// soon as anything else of that object is linked.

__attribute__((weak)) void eu_search_tree_init(void *tree)
{
	(void)tree;
}

__attribute__((weak)) void eu_search_tree_fini(void *tree, void (*free_node)(void *node))
{
	(void)tree;
	(void)free_node;
}
