/*
 * A scheduler program that attaches parent_ops of the BPF object OBJECT, and below it, one after the other, broken_ops for
 * the cgroup /broken and stalled_ops for /stalled, each with a worker of the scenario. It ends when asked.
 */
#include <bpf/btf.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BROKEN_AFTER 20 // tasks, as in subs.bpf.c
#define CGROUPS "/sys/fs/cgroup"

__asm__(".section .rodata\n.balign 8\nobject:\n.incbin \"" OBJECT "\"\nobject_end:\n.byte 0\n.previous\n");
extern const char object[], object_end[];

static struct bpf_object *loaded;
static volatile sig_atomic_t asked_to_end;

static void end(int signal)
{
	(void)signal;
	asked_to_end = 1;
}

/* Make a cgroup, and set it as the one whose tasks a sub-scheduler is for: a member that its struct has by name. */
static int make_cgroup(const char *ops, const char *cgroup)
{
	const struct btf *btf = bpf_object__btf(loaded);
	int id = btf__find_by_name_kind(btf, "sched_ext_ops_cid", BTF_KIND_STRUCT);
	const struct btf_type *type = btf__type_by_id(btf, (unsigned)id);
	size_t size;
	char *value = bpf_map__initial_value(bpf_object__find_map_by_name(loaded, ops), &size);
	struct stat found;

	if (mkdir(cgroup, 0755) || stat(cgroup, &found))
		return 0;
	for (unsigned i = 0; i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_members(type)[i].name_off), "sub_cgroup_id"))
			memcpy(value + btf_member_bit_offset(type, i) / 8, &found.st_ino,
			       sizeof(found.st_ino));
	return 1;
}

static int attach(const char *ops)
{
	int ok = bpf_map__attach_struct_ops(bpf_object__find_map_by_name(loaded, ops)) != NULL;

	printf("%s: %s\n", ops, ok ? "attached" : strerror(errno));
	fflush(stdout);
	return ok;
}

/* Move the worker of a name into a cgroup. */
static int move_worker(const char *name, const char *cgroup)
{
	char path[64], comm[16];
	int moved = 0;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	for (int pid = 2; pid < 1000 && !moved; pid++) {
		char at[32];
		FILE *file;

		snprintf(at, sizeof(at), "/proc/%d/comm", pid);
		file = fopen(at, "r");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file) && !strncmp(comm, name, strlen(name))) {
			FILE *procs = fopen(path, "w");

			moved = procs && fprintf(procs, "%d", pid) > 0 && !fclose(procs);
		}
		fclose(file);
	}
	return moved;
}

/* Wait until the child has broken. */
static void wait_broken(void)
{
	int fd = bpf_object__find_map_fd_by_name(loaded, ".bss.seen");
	unsigned long long seen[3] = { 0 };
	unsigned int zero = 0;

	while (!asked_to_end && !bpf_map_lookup_elem(fd, &zero, seen) && seen[1] <= BROKEN_AFTER)
		usleep(20000);
}

int main(void)
{
	signal(SIGTERM, end);
	signal(SIGINT, end);
	loaded = bpf_object__open_mem(object, (size_t)(object_end - object), NULL);
	if (!make_cgroup("broken_ops", CGROUPS "/broken") || !make_cgroup("stalled_ops", CGROUPS "/stalled"))
		return 2;
	if (bpf_object__load(loaded) || !attach("parent_ops"))
		return 3;
	while (!asked_to_end && !move_worker("spin-0", CGROUPS "/broken"))
		usleep(20000); // the scenario starts its workers when a scheduler is attached
	if (asked_to_end || !attach("broken_ops"))
		return 4;
	wait_broken();
	if (asked_to_end || !move_worker("spin-1", CGROUPS "/stalled") || !attach("stalled_ops"))
		return 5;
	while (!asked_to_end)
		usleep(50000);
	return 0;
}
