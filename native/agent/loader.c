// SPDX-License-Identifier: MIT
/*
 * The loader process: opens a BPF object, has the kernel verify it, attaches its sched_ext_ops when PID 1 lets it, and
 * stays until it is asked to leave or ejected. All output is the scheduler log.
 *
 * Objects that were built with the sched_ext headers leave the kernel's enumerators (SCX_DSQ_LOCAL, ...) as
 * read-only variables called __SCX_..., which a generated loader fills in before the load. This one does the
 * same, from the kernel's BTF, so that such an object works without the program it was made for.
 */
#include "loader.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "machine.h"
#include "scx_state.h"

#define STATE_EVERY_MS 100
#define OPS_TYPE "sched_ext_ops"

static int print_all(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, format, args);
}

static const struct btf_type *skip_modifiers(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	while (type && (btf_is_mod(type) || btf_is_typedef(type)))
		type = btf__type_by_id(btf, type->type);
	return type;
}

// Call visit for every variable of the object's section `section`.
static void each_variable(const struct btf *btf, const char *section, void *context,
			  void (*visit)(void *context, const char *name, const struct btf_type *type,
					const struct btf_var_secinfo *place))
{
	int32_t id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	const struct btf_type *list = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	for (int i = 0; list && i < btf_vlen(list); i++) {
		const struct btf_var_secinfo *place = &btf_var_secinfos(list)[i];
		const struct btf_type *variable = btf__type_by_id(btf, place->type);
		const struct btf_type *type = skip_modifiers(btf, variable->type);

		if (type)
			visit(context, btf__name_by_offset(btf, variable->name_off), type, place);
	}
}

struct ops_search {
	const struct btf *btf;
	const char *name; // of the first sched_ext_ops
	int found;
};

static void visit_ops(void *context, const char *name, const struct btf_type *type,
		      const struct btf_var_secinfo *place)
{
	struct ops_search *search = context;

	(void)place;
	if (strncmp(btf__name_by_offset(search->btf, type->name_off), OPS_TYPE, strlen(OPS_TYPE)))
		return;
	if (!search->found++)
		search->name = name;
}

static struct bpf_map *find_ops(struct bpf_object *object)
{
	struct ops_search search = { .btf = bpf_object__btf(object) };

	if (search.btf) {
		each_variable(search.btf, ".struct_ops", &search, visit_ops);
		each_variable(search.btf, ".struct_ops.link", &search, visit_ops);
	}
	if (search.found > 1)
		fprintf(stderr, "%d sched_ext_ops in this object: using %s\n", search.found, search.name);
	return search.name ? bpf_object__find_map_by_name(object, search.name) : NULL;
}

// The value of an enumerator of the kernel, by name. There is no index, so all enums are looked through.
static bool kernel_enumerator(const struct btf *kernel, const char *name, uint64_t *ret)
{
	for (uint32_t id = 1; id < btf__type_cnt(kernel); id++) {
		const struct btf_type *type = btf__type_by_id(kernel, id);

		for (int i = 0; btf_is_enum(type) && i < btf_vlen(type); i++) {
			if (!strcmp(btf__name_by_offset(kernel, btf_enum(type)[i].name_off), name)) {
				*ret = (uint64_t)(int64_t)btf_enum(type)[i].val;
				return true;
			}
		}
		for (int i = 0; btf_is_enum64(type) && i < btf_vlen(type); i++) {
			if (!strcmp(btf__name_by_offset(kernel, btf_enum64(type)[i].name_off), name)) {
				*ret = btf_enum64_value(&btf_enum64(type)[i]);
				return true;
			}
		}
	}
	return false;
}

struct enum_fill {
	struct btf *kernel; // loaded with the first such variable
	uint8_t *data;
	size_t bytes;
};

static void visit_enum(void *context, const char *name, const struct btf_type *type,
		       const struct btf_var_secinfo *place)
{
	struct enum_fill *fill = context;
	uint64_t value;

	if (strncmp(name, "__SCX_", 6) || type->size != sizeof(value) ||
	    place->offset + sizeof(value) > fill->bytes)
		return;
	if (!fill->kernel)
		fill->kernel = btf__load_vmlinux_btf();
	if (fill->kernel && kernel_enumerator(fill->kernel, name + 2, &value))
		memcpy(fill->data + place->offset, &value, sizeof(value));
}

static void fill_kernel_enums(struct bpf_object *object)
{
	struct enum_fill fill = { 0 };
	struct bpf_map *map;

	bpf_object__for_each_map (map, object) {
		const char *section = bpf_map__name(map);
		size_t at = strlen(section);

		fill.data = bpf_map__initial_value(map, &fill.bytes);
		if (fill.data && at >= 7 && !strcmp(section + at - 7, ".rodata"))
			each_variable(bpf_object__btf(object), ".rodata", &fill, visit_enum);
	}
	btf__free(fill.kernel);
}

// Open an object and have the kernel verify it. Returns the map of its sched_ext_ops, or NULL.
static struct bpf_map *load(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_map *ops;

	if (!object) {
		fprintf(stderr, "open: %s\n", strerror(errno));
		return NULL;
	}
	ops = find_ops(object);
	if (!ops) {
		fprintf(stderr, "no " OPS_TYPE " in this object\n");
		return NULL;
	}
	fill_kernel_enums(object);
	// On a refused program libbpf loads it once more with a log and prints what the verifier said.
	if (bpf_object__load(object)) {
		fprintf(stderr, "load: %s\n", strerror(errno));
		return NULL;
	}
	return ops;
}

static void tell(int hold_fd, char word)
{
	// PID 1 reads it, or is gone and with it the machine.
	(void)!send(hold_fd, &word, sizeof(word), MSG_NOSIGNAL);
}

// Wait until PID 1 lets it attach. Returns false when it is to leave.
static bool released(int hold_fd, int signal_fd)
{
	struct pollfd fds[] = { { .fd = hold_fd, .events = POLLIN }, { .fd = signal_fd, .events = POLLIN } };
	char word;

	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	return !fds[1].revents && read(hold_fd, &word, sizeof(word)) == 1 && word == LOADER_GO;
}

static int stay(struct bpf_link *link, int signal_fd)
{
	struct pollfd poll_fd = { .fd = signal_fd, .events = POLLIN };
	struct signalfd_siginfo info;

	while (poll(&poll_fd, 1, STATE_EVERY_MS) == 0 && scx_enabled())
		;
	if (!scx_enabled()) {
		fprintf(stderr, "ejected by the kernel\n");
		return LOADER_EJECTED;
	}
	if (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		fprintf(stderr, "detaching on signal %u\n", info.ssi_signo);
	bpf_link__destroy(link);
	return LOADER_DETACHED;
}

int loader_main(const char *path, int hold_fd)
{
	struct bpf_link *link;
	struct bpf_map *ops;
	sigset_t mask;
	int signal_fd;

	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	prctl(PR_SET_NAME, LOADER_NAME);
	fcntl(hold_fd, F_SETFD, FD_CLOEXEC);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal_fd = signalfd(-1, &mask, SFD_CLOEXEC);
	libbpf_set_print(print_all);
	ops = load(path);
	if (!ops)
		return LOADER_REJECTED;
	tell(hold_fd, LOADER_VERIFIED);
	if (!released(hold_fd, signal_fd)) {
		fprintf(stderr, "verified, and not wanted any more\n");
		return LOADER_DETACHED;
	}
	machine_set_fifo(PRIO_LOADER);
	link = bpf_map__attach_struct_ops(ops);
	if (!link) {
		fprintf(stderr, "attach: %s\n", strerror(errno));
		return LOADER_REJECTED;
	}
	fprintf(stderr, "attached\n");
	tell(hold_fd, LOADER_ATTACHED);
	return stay(link, signal_fd);
}
