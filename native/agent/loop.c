// SPDX-License-Identifier: MIT
#include "loop.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "port.h"
#include "util.h"

#define MODULES_MAX 5 // worker, scheduler, stats, swap and op register
#define WATCH_MAX 16
#define HANGUP_RETRY_NS (100 * NSEC_PER_MSEC)
#define WATCH_REST_NS (5 * NSEC_PER_MSEC)

static struct {
	loop_tick_fn tick;
	loop_reaped_fn reaped;
} modules[MODULES_MAX];
static int nr_modules;
static struct watch {
	int fd;
	loop_ready_fn ready;
	uint64_t rest_until_ns;
} watches[WATCH_MAX];
static int nr_watches;
static int signal_fd = -1;

int loop_init(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &mask, NULL))
		return -1;
	signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	return signal_fd < 0 ? -1 : 0;
}

void loop_register(loop_tick_fn tick, loop_reaped_fn reaped)
{
	if (nr_modules == MODULES_MAX)
		abort(); // a module was added: make the table larger
	modules[nr_modules].tick = tick;
	modules[nr_modules++].reaped = reaped;
}

void pump_watch(int fd, loop_ready_fn ready)
{
	if (fd >= 0 && nr_watches < WATCH_MAX)
		watches[nr_watches++] = (struct watch){ .fd = fd, .ready = ready };
}

void pump_unwatch(int fd)
{
	for (int i = 0; i < nr_watches; i++) {
		if (watches[i].fd == fd) {
			watches[i] = watches[--nr_watches];
			return;
		}
	}
}

static void reap_children(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < nr_modules; i++)
			if (modules[i].reaped && modules[i].reaped(pid, status))
				break;
	}
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

// Do what is due in all modules. Returns when the next of it is.
static uint64_t tick_modules(uint64_t now)
{
	uint64_t wake = UINT64_MAX;

	for (int i = 0; i < nr_modules; i++)
		if (modules[i].tick)
			wake = min_u64(wake, modules[i].tick(now));
	return wake;
}

// Fill in the watched descriptors, without those that rest. Returns when the first of these is due.
static uint64_t poll_watches(struct pollfd *fds, uint64_t now)
{
	uint64_t wake = UINT64_MAX;

	for (int i = 0; i < nr_watches; i++) {
		bool rests = watches[i].rest_until_ns > now;

		fds[i] = (struct pollfd){ .fd = rests ? -1 : watches[i].fd, .events = POLLIN };
		if (rests)
			wake = min_u64(wake, watches[i].rest_until_ns);
	}
	return wake;
}

static void serve_watches(const struct pollfd *fds, int nr)
{
	struct watch due[WATCH_MAX]; // serving may unwatch and reorder
	int nr_due = 0;

	for (int i = 0; i < nr; i++) {
		if (!fds[i].revents)
			continue;
		watches[i].rest_until_ns = now_ns() + WATCH_REST_NS;
		due[nr_due++] = watches[i];
	}
	for (int i = 0; i < nr_due; i++)
		due[i].ready(due[i].fd);
}

void pump(uint64_t until_ns)
{
	struct pollfd fds[WATCH_MAX + 2];
	bool connected = port_connected();
	uint64_t now = now_ns(), wake = min_u64(until_ns, tick_modules(now));
	int nr = nr_watches; // after the ticks: they may have changed it
	struct timespec timeout;

	fds[0] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = connected ? port_fd() : -1,
				  .events = (short)(POLLIN | (port_pending() ? POLLOUT : 0)) };
	wake = min_u64(wake, poll_watches(fds + 2, now));
	if (!connected) // a closed port is always "ready": look again later in place of polling it
		wake = min_u64(wake, now + HANGUP_RETRY_NS);
	wake = wake > now ? wake - now : 0;
	timeout = (struct timespec){ (time_t)(wake / NSEC_PER_SEC), (long)(wake % NSEC_PER_SEC) };
	if (ppoll(fds, (nfds_t)nr + 2, &timeout, NULL) > 0) {
		if (fds[1].revents & POLLHUP)
			port_note_hangup();
		if (fds[1].revents & POLLIN)
			host_receive();
		serve_watches(fds + 2, nr);
		if (fds[0].revents)
			reap_children();
	}
	port_flush();
}
