// SPDX-License-Identifier: MIT
#include "scheduler.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "host.h"
#include "loader.h"
#include "loop.h"
#include "machine.h"
#include "refusal.h"
#include "scx_state.h"
#include "util.h"

#define STATE_EVERY_NS (100 * NSEC_PER_MSEC)
#define ATTACH_WITHIN_NS (60 * NSEC_PER_SEC) // verification under emulation is slow
#define STOP_WITHIN_NS (5 * NSEC_PER_SEC)
// A program may attach again what the kernel disabled, as schedulers do after CPU hotplug. That takes a load.
#define RESTART_WITHIN_NS (10 * NSEC_PER_SEC)
#define REASON_BYTES 700
#define KMSG_RECORD_BYTES 8192
#define KMSG_RECORDS_MAX 64 // read at a time

static struct {
	const struct plan_sched *sched; // the last one started, NULL before
	pid_t pid; // 0 once reaped
	int log_fd; // its stdout and stderr, -1 once at the end
	bool attached; // the kernel enabled it; it may be ejected by now
	uint64_t enable_seq; // of the kernel, before it was started or when it was enabled last
	bool stopping; // asked to end
	bool ejected; // by the kernel, or it died on its own
	bool any_ejected; // since boot
	uint64_t state_at_ns;
	uint64_t gone_since_ns; // it was disabled, and its program may attach it again; 0 while it is enabled
	uint64_t ejected_at_ns;
	char kernel_line[256]; // the last that the kernel logged about it
} run = { .log_fd = -1 };
static int kmsg_fd = -1;

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
		refusal_read(text, (size_t)n);
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
	// The kernel only disables what it had taken. One that is ejected while it is being enabled is never counted as enabled.
	if (strstr(text, "BPF scheduler \"") && strstr(text, "\" disabled ("))
		run.attached = true;
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

// The host, which sees the kernel write exit_kind, has to know at that instant whether the scenario asked for the end
// of the scheduler. No frame can tell it in time, so it is written where the host reads: into the name of process 1.
static void mark_asked(bool asked)
{
	prctl(PR_SET_NAME, asked ? NAME_STOPPING : NAME_RUNNING);
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
	run.enable_seq = scx_enable_seq();
	run.gone_since_ns = 0;
	run.kernel_line[0] = '\0';
	refusal_reset();
	mark_asked(false);
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
	char text[PLAN_NAME_BYTES + REASON_BYTES + 4];

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
		return 0; // even when it was ejected since
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
	// A scheduler that user space unregistered went because its program went: that says more.
	if (run.kernel_line[0] && !strstr(run.kernel_line, "unregistered from user space"))
		what = run.kernel_line;
	snprintf(text, sizeof(text), "%s: %s", run.sched->name, what);
	host_lifecycle(PHASE_SCHEDULER_DIED, text);
}

// A program whose scheduler was disabled may be about to attach it again: wait for that, or for look_at_kernel() to say that
// it did not in time.
static void await_restart(void)
{
	while (run.pid && run.attached && !run.ejected && run.gone_since_ns && !host.shutdown)
		pump(now_ns() + STATE_EVERY_NS);
}

void sched_stop(void)
{
	uint64_t deadline_ns;

	await_restart();
	if (run.pid && run.attached && !run.ejected && run.gone_since_ns && scx_disabled())
		note_ejected("ejected by the kernel");
	if (run.ejected) // let it say what it has to say about that
		pump_until_reaped(STOP_WITHIN_NS);
	run.stopping = true;
	mark_asked(true);
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

static void why_not_attached(const char *otherwise, char *why, size_t bytes)
{
	const char *last = refusal_last_line();

	if (refusal_reason(why, bytes))
		return;
	if (run.kernel_line[0])
		snprintf(why, bytes, "refused by the kernel: %s", run.kernel_line);
	else
		snprintf(why, bytes, "%s", last[0] ? last : otherwise);
}

// Whether the kernel has enabled a scheduler since the last call. It counts them, so that one that was enabled and ejected
// between two looks is not taken for one that never attached. It counts a moment after the state says so, and 0 means that
// it has not yet.
static bool enabled_since(void)
{
	uint64_t seq = scx_enable_seq();
	bool since = scx_counts_enables() ? seq > run.enable_seq : !run.attached && scx_enabled();

	run.enable_seq = seq;
	return since;
}

static bool sched_reaped(pid_t pid, int status)
{
	char what[128], why[REASON_BYTES];

	if (!run.pid || pid != run.pid)
		return false;
	run.pid = 0;
	if (run.log_fd >= 0)
		log_ready(run.log_fd);
	close_log(); // even when a child of it holds the pipe open
	if (WIFSIGNALED(status))
		snprintf(what, sizeof(what), "the scheduler's program died of signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(what, sizeof(what), "the scheduler's program ended with exit code %d",
			 exit_code(status));
	if (enabled_since())
		run.attached = true;
	if (!run.stopping && run.attached)
		note_ejected(what);
	host_printf(KTF_SCHED_LOG, "--- end %s: exit code %d ---\n", run.sched->name, exit_code(status));
	if (!run.stopping && !run.attached) {
		why_not_attached(what, why, sizeof(why));
		not_attached(why);
	}
	host_i32(KTF_SCHED_EXIT, exit_code(status));
	return true;
}

static void look_at_kernel(uint64_t now_ns)
{
	if (enabled_since()) {
		if (run.attached)
			host_printf(KTF_SCHED_LOG, "--- %s attached again ---\n", run.sched->name);
		run.attached = true;
		run.ejected = false;
		run.gone_since_ns = 0;
	}
	if (!run.attached)
		return;
	if (run.ejected) {
		if (now_ns > run.ejected_at_ns + STOP_WITHIN_NS)
			signal_scheduler(SIGTERM); // it did not notice, or does not want to leave
		return;
	}
	if (!scx_disabled())
		return;
	if (!run.gone_since_ns)
		run.gone_since_ns = now_ns;
	if (run.sched->is_object || now_ns > run.gone_since_ns + RESTART_WITHIN_NS)
		note_ejected("ejected by the kernel");
}

// Look at the kernel's state when that is due.
static uint64_t sched_tick(uint64_t now_ns)
{
	if (!run.pid || run.stopping)
		return UINT64_MAX;
	if (now_ns < run.state_at_ns)
		return run.state_at_ns;
	run.state_at_ns = now_ns + STATE_EVERY_NS;
	look_at_kernel(now_ns);
	return run.state_at_ns;
}

void sched_init(void)
{
	loop_register(sched_tick, sched_reaped);
}
