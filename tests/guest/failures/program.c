// SPDX-License-Identifier: MIT
/*
 * A scheduler program for tests: loads the BPF object OBJECT, attaches it, and then does what its argument says.
 *
 *   restart  takes CPU 1 offline, which makes the kernel eject the scheduler, attaches it again, ends when asked
 *   rework   the same, but works before that for longer than the guest program would let it sleep
 *   crash    dereferences NULL
 *   offline  takes CPU 1 offline until the scheduler is ejected, for whatever reason
 *   sysrq    presses SysRq-S, which ejects the scheduler
 *   pairs    wakes its child by a pipe again and again; that tells how long each time took it to run
 *   linger   stays for ever after its ejection and ignores SIGTERM
 */
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__asm__(".section .rodata\n.balign 8\nobject:\n.incbin \"" OBJECT "\"\nobject_end:\n.byte 0\n.previous\n");
#define BUSY_S 13
#define PAIRS 40
extern const char object[], object_end[];

static volatile sig_atomic_t asked_to_end;

static void end(int signal)
{
	(void)signal;
	asked_to_end = 1;
}

static struct bpf_link *attach(void)
{
	struct bpf_object *loaded = bpf_object__open_mem(object, (size_t)(object_end - object), NULL);
	struct bpf_map *map, *ops = NULL;

	bpf_object__for_each_map (map, loaded)
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			ops = map;
	if (bpf_object__load(loaded))
		return NULL;
	return bpf_map__attach_struct_ops(ops);
}

static int enabled(void)
{
	char state[16] = "";
	int fd = open("/sys/kernel/sched_ext/state", O_RDONLY);
	ssize_t n = read(fd, state, sizeof(state) - 1);

	close(fd);
	return n > 0 && !strncmp(state, "enabled", 7);
}

static void set_cpu1(const char *online)
{
	int fd = open("/sys/devices/system/cpu/cpu1/online", O_WRONLY);

	if (write(fd, online, 1) != 1)
		perror("cpu1");
	close(fd);
}

/* As one does that compiles its next scheduler. */
static void work(int seconds)
{
	time_t end_at = time(NULL) + seconds;

	while (!asked_to_end && time(NULL) < end_at)
		;
}

static int restart(int busy_s)
{
	int lives = 1;

	set_cpu1("0");
	while (!asked_to_end) {
		if (!enabled()) {
			set_cpu1("1");
			work(busy_s);
			if (!attach())
				return 3;
			printf("life %d\n", ++lives);
			fflush(stdout);
		}
		usleep(50000);
	}
	return 0;
}

static int until_ejected(void)
{
	while (!asked_to_end && enabled())
		usleep(50000);
	return 0;
}

static int offline(void)
{
	set_cpu1("0");
	until_ejected();
	set_cpu1("1");
	return 0;
}

static int sysrq(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	if (write(fd, "S", 1) != 1)
		perror("sysrq");
	close(fd);
	return until_ejected();
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int pairs(void)
{
	uint64_t woken_ns, took_ns[PAIRS];
	int ends[2];

	if (pipe(ends))
		return 3;
	if (fork()) {
		for (int i = 0; i < PAIRS; i++) {
			usleep(20000);
			woken_ns = now_ns();
			if (write(ends[1], &woken_ns, sizeof(woken_ns)) != sizeof(woken_ns))
				return 3;
		}
		return until_ejected();
	}
	for (int i = 0; i < PAIRS; i++) {
		if (read(ends[0], &woken_ns, sizeof(woken_ns)) != sizeof(woken_ns))
			return 3;
		took_ns[i] = now_ns() - woken_ns;
	}
	for (int i = 0; i < PAIRS; i++)
		printf("pair of %d: %llu ns\n", getpid(), (unsigned long long)took_ns[i]);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGTERM, end);
	signal(SIGINT, end);
	if (argc != 2 || !attach())
		return 2;
	usleep(500000);
	if (!strcmp(argv[1], "restart"))
		return restart(0);
	if (!strcmp(argv[1], "rework"))
		return restart(BUSY_S);
	if (!strcmp(argv[1], "offline"))
		return offline();
	if (!strcmp(argv[1], "sysrq"))
		return sysrq();
	if (!strcmp(argv[1], "pairs"))
		return pairs();
	if (!strcmp(argv[1], "crash"))
		*(volatile int *)0 = 1;
	for (;;)
		pause();
}
