/* SPDX-License-Identifier: MIT */
/*
 * What the programs of these schedulers have in common. The BPF object is part of the program (`.incbin`), so that one
 * file is all that has to be copied into a guest.
 *
 * A program ends when it is asked to (SIGTERM, SIGINT) and when its scheduler is gone. It learns the latter from the
 * scheduler's own exit(), which fills the map exit_records.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define PROGRAM_OBJECT(path)                                                                      \
	__asm__(".section .rodata\n.balign 8\nbpf_bytes:\n.incbin \"" path "\"\nbpf_bytes_end:\n" \
		".byte 0\n.previous\n");                                                          \
	extern const char bpf_bytes[], bpf_bytes_end[]

struct exit_record {
	unsigned int kind; /* 0: it runs */
	long long code;
};

static volatile sig_atomic_t asked_to_end;

static void end(int signal)
{
	(void)signal;
	asked_to_end = 1;
}

/* Answer SIGTERM and SIGINT, and print line by line. */
static inline void program_begin(void)
{
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	signal(SIGTERM, end);
	signal(SIGINT, end);
}

/* Open the object that PROGRAM_OBJECT named. Its maps are called after `name`. NULL on an error, which libbpf has printed. */
#define program_open(name) program_open_object(bpf_bytes, (size_t)(bpf_bytes_end - bpf_bytes), name)

static inline struct bpf_object *program_open_object(const char *bytes, size_t size, const char *name)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);

	return bpf_object__open_mem(bytes, size, &options);
}

/* Where a `const volatile` variable of the object is, to be set before it is loaded. NULL when there is none. */
static inline void *program_constant(struct bpf_object *object, const char *name)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *section = id > 0 ? btf__type_by_id(btf, (unsigned int)id) : NULL;
	struct bpf_map *map;
	size_t bytes;

	map = bpf_object__next_map(object, NULL);
	while (map && !strstr(bpf_map__name(map), ".rodata"))
		map = bpf_object__next_map(object, map);
	for (int i = 0; map && section && i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *place = &btf_var_secinfos(section)[i];
		const struct btf_type *variable = btf__type_by_id(btf, place->type);

		if (!strcmp(btf__name_by_offset(btf, variable->name_off), name))
			return (char *)bpf_map__initial_value(map, &bytes) + place->offset;
	}
	fprintf(stderr, "no constant %s in the object\n", name);
	return NULL;
}

/* Load the object, unless that is done, and attach its scheduler. NULL on an error, which libbpf has printed. */
static inline struct bpf_link *program_attach(struct bpf_object *object)
{
	struct bpf_map *map, *ops = NULL;

	bpf_object__for_each_map (map, object)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			ops = map;
	if (!ops || (bpf_map__fd(ops) < 0 && bpf_object__load(object)))
		return NULL;
	return bpf_map__attach_struct_ops(ops);
}

/* How the scheduler ended; a kind of 0 while it runs. */
static inline struct exit_record program_exit_record(struct bpf_object *object)
{
	int fd = bpf_object__find_map_fd_by_name(object, "exit_records");
	struct exit_record record = { 0 };
	unsigned int key = 0;

	bpf_map_lookup_elem(fd, &key, &record);
	return record;
}

#endif
