// SPDX-License-Identifier: MIT
/*
 * A scheduler program for tests: loads the BPF object OBJECT, attaches it, and prints what bpftool (BPFTOOL) makes of its
 * maps, each answer between "@@ COMMAND" and "@@ end". Then it stays until it is asked to end.
 */
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define INCLUDE(name, file)                                                             \
	__asm__(".section .rodata\n.balign 8\n" #name ":\n.incbin \"" file "\"\n" #name \
		"_end:\n.byte 0\n.previous\n");                                         \
	extern const char name[], name##_end[]
INCLUDE(object, OBJECT);
INCLUDE(tool, BPFTOOL);

static volatile sig_atomic_t asked_to_end;

static void end(int signal)
{
	(void)signal;
	asked_to_end = 1;
}

static void ask(const char *verb, const char *name)
{
	printf("@@ %s %s\n", verb, name);
	fflush(stdout);
	if (!fork()) {
		execl("/tmp/bpftool", "bpftool", "-j", "map", verb, "name", name, NULL);
		_exit(127);
	}
	wait(NULL);
	printf("\n@@ end\n");
	fflush(stdout);
}

int main(int count, char **names)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "maps");
	struct bpf_object *loaded = bpf_object__open_mem(object, (size_t)(object_end - object), &options);
	struct bpf_map *map, *ops = NULL;
	int fd;

	signal(SIGTERM, end);
	mkdir("/tmp", 0755);
	fd = open("/tmp/bpftool", O_CREAT | O_WRONLY, 0755);
	if (write(fd, tool, (size_t)(tool_end - tool)) != tool_end - tool)
		perror("bpftool");
	close(fd);
	bpf_object__for_each_map (map, loaded)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			ops = map;
	if (bpf_object__load(loaded) || !bpf_map__attach_struct_ops(ops))
		return 1;
	for (int k = 1; k < count; k++) // "peek:NAME" for what has no keys
		names[k][4] == ':' ? ask("peek", names[k] + 5) : ask("dump", names[k]);
	printf("@@ done\n");
	fflush(stdout);
	while (!asked_to_end)
		pause();
	return 0;
}
