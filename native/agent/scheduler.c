// SPDX-License-Identifier: MIT
#include "scheduler.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "host.h"
#include "loader.h"
#include "loop.h"
#include "machine.h"
#include "scx_state.h"
#include "util.h"

#define STATE_EVERY_NS (100 * NSEC_PER_MSEC)
#define ATTACH_WITHIN_NS (60 * NSEC_PER_SEC) // verification under emulation is slow
#define STOP_WITHIN_NS (5 * NSEC_PER_SEC)
#define KMSG_RECORD_BYTES 8192
#define KMSG_RECORDS_MAX 64 // read at a time

static struct {
	const struct plan_sched *sched; // the last one started, NULL before
	pid_t pid; // 0 once reaped
	int log_fd; // its stdout and stderr, -1 once at the end
	bool attached;
	bool stopping; // asked to end
	bool ejected; // by the kernel, or it died on its own
	bool any_ejected; // since boot
	uint64_t state_at_ns;
	uint64_t ejected_at_ns;
	char kernel_line[256]; // the last that the kernel logged about it
	char own_line[256]; // the last that it printed itself
} run = { .log_fd = -1 };
static int kmsg_fd = -1;

// Keep the last line that is not empty, of text that comes in pieces.
static void keep_last_line(const char *text, size_t bytes)
{
	static bool line_ended = true;

	for (size_t i = 0; i < bytes; i++) {
		size_t length = strlen(run.own_line);

		if (text[i] == '\n') {
			line_ended = true;
			continue;
		}
		if (line_ended)
			length = 0;
		line_ended = false;
		if (length + 1 < sizeof(run.own_line)) {
			run.own_line[length] = text[i];
			run.own_line[length + 1] = '\0';
		}
	}
}

static void close_log(void)
{
	if (run.log_fd < 0)
		return;
	pump_unwatch(run.log_fd);
	close(run.log_fd);
	run.log_fd = -1;
}

static void log_ready(int fd)
{
	char text[TEXT_CHUNK_BYTES];
	ssize_t n;

	for (int i = 0; i < TEXT_CHUNKS_MAX; i++) {
		n = read(fd, text, sizeof(text));
		if (n <= 0)
			break;
		keep_last_line(text, (size_t)n);
		host_text(KTF_SCHED_LOG, text, (size_t)n);
	}
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	close_log();
}

static void kmsg_record(char *record, ssize_t bytes)
{
	char *text;

	record[bytes] = '\0';
	text = strchr(record, ';');
	if (!text || strncmp(++text, "sched_ext: ", 11))
		return;
	text[strcspn(text, "\n")] = '\0'; // what follows are the record's own variables
	host_printf(KTF_SCHED_LOG, "%s\n", text);
	snprintf(run.kernel_line, sizeof(run.kernel_line), "%s", text);
}

static void kmsg_ready(int fd)
{
	char record[KMSG_RECORD_BYTES + 1];

	for (int i = 0; i < KMSG_RECORDS_MAX; i++) {
		ssize_t n = read(fd, record, KMSG_RECORD_BYTES);

		if (n > 0)
			kmsg_record(record, n);
		else if (n == 0 || errno != EPIPE) // EPIPE: some were overwritten; go on with the oldest
			return;
	}
}

static void exec_scheduler(const struct plan_sched *sched, int log_fd)
{
	char libraries[512];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(log_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	if (sched->is_object) {
		machine_set_fifo(PRIO_LOADER);
		execl("/proc/self/exe", LOADER_NAME, sched->argv[0], (char *)NULL);
	} else {
		snprintf(libraries, sizeof(libraries), "%.*s/lib",
			 (int)(strrchr(sched->argv[0], '/') - sched->argv[0]), sched->argv[0]);
		setenv("LD_LIBRARY_PATH", libraries, 1);
		execv(sched->argv[0], sched->argv);
	}
	fprintf(stderr, "exec %s: %s\n", sched->argv[0], strerror(errno));
	_exit(127);
}

static int spawn(const struct plan_sched *sched)
{
	int log[2];

	if (pipe2(log, O_CLOEXEC))
		return -1;
	if (kmsg_fd < 0) {
		kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		pump_watch(kmsg_fd, kmsg_ready);
	}
	lseek(kmsg_fd, 0, SEEK_END);
	close_log(); // of one that could not be killed
	run.sched = sched;
	run.attached = run.stopping = run.ejected = false;
	run.kernel_line[0] = run.own_line[0] = '\0';
	run.pid = fork();
	if (!run.pid)
		exec_scheduler(sched, log[1]);
	close(log[1]);
	if (run.pid < 0) {
		run.pid = 0;
		close(log[0]);
		return -1;
	}
	fcntl(log[0], F_SETFL, O_NONBLOCK);
	run.log_fd = log[0];
	pump_watch(log[0], log_ready);
	host_printf(KTF_SCHED_LOG, "--- begin %s ---\n", sched->name);
	return 0;
}

static void not_attached(const char *reason)
{
	char text[PLAN_NAME_BYTES + 300];

	snprintf(text, sizeof(text), "%s: %s", run.sched->name, reason);
	host_lifecycle(PHASE_SCHEDULER_NOT_ATTACHED, text);
	machine_send_dmesg();
}

int sched_start(const struct plan_sched *sched)
{
	uint64_t deadline_ns = now_ns() + ATTACH_WITHIN_NS;

	run.sched = sched;
	if (access(SCX_STATE_PATH, R_OK)) {
		not_attached("this kernel has no sched_ext (" SCX_STATE_PATH " is missing)");
		return -1;
	}
	if (spawn(sched)) {
		not_attached(strerror(errno));
		return -1;
	}
	while (run.pid && !run.attached && now_ns() < deadline_ns && !host.shutdown)
		pump(deadline_ns);
	if (run.attached)
		return 0;
	if (run.pid && !host.shutdown)
		not_attached("did not attach in time");
	sched_stop();
	return -1;
}

static void pump_until_reaped(uint64_t duration_ns)
{
	uint64_t deadline_ns = now_ns() + duration_ns;

	while (run.pid && now_ns() < deadline_ns)
		pump(deadline_ns);
}

// Its whole process group; the process alone when it was not yet scheduled to make one.
static void signal_scheduler(int signal)
{
	if (kill(-run.pid, signal))
		kill(run.pid, signal);
}

void sched_stop(void)
{
	uint64_t deadline_ns;

	if (run.ejected) // let it say what it has to say about that
		pump_until_reaped(STOP_WITHIN_NS);
	run.stopping = true;
	if (run.pid) {
		signal_scheduler(SIGTERM);
		pump_until_reaped(STOP_WITHIN_NS);
	}
	if (run.pid) {
		signal_scheduler(SIGKILL);
		pump_until_reaped(STOP_WITHIN_NS);
	}
	// The kernel takes the scheduler down after its last descriptor is closed.
	deadline_ns = now_ns() + STOP_WITHIN_NS;
	while (run.attached && !scx_disabled() && now_ns() < deadline_ns)
		pump(now_ns() + STATE_EVERY_NS);
	run.attached = false;
}

bool sched_is(const struct plan_sched *sched)
{
	return run.sched == sched && run.attached && run.pid && !run.ejected;
}

bool sched_ejected(void)
{
	return run.ejected;
}

bool sched_any_ejected(void)
{
	return run.any_ejected;
}

static const char *why_not_attached(const char *otherwise)
{
	if (run.kernel_line[0])
		return run.kernel_line;
	return run.own_line[0] ? run.own_line : otherwise;
}

static int exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void note_ejected(const char *what)
{
	char text[PLAN_NAME_BYTES + 400];

	if (run.ejected)
		return;
	if (kmsg_fd >= 0)
		kmsg_ready(kmsg_fd); // the reason is written before the state changes
	run.ejected = run.any_ejected = true;
	run.ejected_at_ns = now_ns();
	snprintf(text, sizeof(text), "%s: %s", run.sched->name, run.kernel_line[0] ? run.kernel_line : what);
	host_lifecycle(PHASE_SCHEDULER_DIED, text);
}

static bool sched_reaped(pid_t pid, int status)
{
	char what[64];

	if (!run.pid || pid != run.pid)
		return false;
	run.pid = 0;
	if (run.log_fd >= 0)
		log_ready(run.log_fd);
	close_log(); // even when a child of it holds the pipe open
	snprintf(what, sizeof(what), "the scheduler process ended with exit code %d", exit_code(status));
	if (!run.stopping && run.attached)
		note_ejected(what);
	host_printf(KTF_SCHED_LOG, "--- end %s: exit code %d ---\n", run.sched->name, exit_code(status));
	if (!run.stopping && !run.attached)
		not_attached(why_not_attached(what));
	host_i32(KTF_SCHED_EXIT, exit_code(status));
	return true;
}

// Look at the kernel's state when that is due.
static uint64_t sched_tick(uint64_t now_ns)
{
	if (!run.pid || run.stopping)
		return UINT64_MAX;
	if (now_ns < run.state_at_ns)
		return run.state_at_ns;
	run.state_at_ns = now_ns + STATE_EVERY_NS;
	if (!run.attached)
		run.attached = scx_enabled();
	else if (!run.ejected && scx_disabled())
		note_ejected("ejected by the kernel");
	else if (run.ejected && now_ns > run.ejected_at_ns + STOP_WITHIN_NS)
		signal_scheduler(SIGTERM); // it did not notice, or does not want to leave
	return run.state_at_ns;
}

void sched_init(void)
{
	loop_register(sched_tick, sched_reaped);
}
