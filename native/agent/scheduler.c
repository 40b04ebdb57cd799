// SPDX-License-Identifier: MIT
#include "scheduler.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "asleep.h"
#include "host.h"
#include "loop.h"
#include "machine.h"
#include "scx_state.h"
#include "util.h"

#define STATE_EVERY_NS (100 * NSEC_PER_MSEC)
#define ATTACH_WITHIN_NS (60 * NSEC_PER_SEC) // verification under emulation is slow
#define STOP_WITHIN_NS (5 * NSEC_PER_SEC)
// A program may attach again what the kernel disabled, as schedulers do after CPU hotplug. That takes a load.
#define RESTART_WITHIN_NS (60 * NSEC_PER_SEC)
#define RESTART_ASLEEP_NS (10 * NSEC_PER_SEC) // of that, in which it sleeps
#define KMSG_RECORD_BYTES 8192
#define KMSG_RECORDS_MAX 64 // read at a time

static struct {
	struct program *program; // of the last one started
	bool attached; // the kernel enabled it; it may be ejected by now
	bool enabled; // the kernel counted or showed it as enabled
	uint64_t enable_seq; // of the kernel, before it was started or when it was enabled last
	bool stopping; // asked to end
	bool ejected; // by the kernel, or it died on its own
	bool any_ejected; // since boot
	uint64_t state_at_ns;
	uint64_t gone_since_ns; // it was disabled, and its program may attach it again; 0 while it is enabled
	struct asleep asleep; // since then
	uint64_t ejected_at_ns;
	char kernel_line[256]; // the last that the kernel logged about it
	struct sched_refusal
		*refusal; // where to say why it did not attach; NULL: to the host, for the scenario
} run;
static int kmsg_fd = -1;

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

// The host, which sees the kernel write exit_kind, has to know at that instant whether the scenario asked for the end
// of the scheduler. No frame can tell it in time, so it is written where the host reads: into the name of process 1.
static void mark_asked(bool asked)
{
	prctl(PR_SET_NAME, asked ? NAME_STOPPING : NAME_RUNNING);
}

// Prepare to be asked about another one.
static void take_over(struct program *program, struct sched_refusal *refusal)
{
	if (kmsg_fd < 0) {
		kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		pump_watch(kmsg_fd, kmsg_ready);
	} else {
		kmsg_ready(kmsg_fd); // what is still to be said of the one before
	}
	lseek(kmsg_fd, 0, SEEK_END);
	run.program = program;
	run.refusal = refusal;
	run.attached = run.enabled = run.stopping = run.ejected = false;
	run.enable_seq = scx_enable_seq();
	run.gone_since_ns = 0;
	run.kernel_line[0] = '\0';
	mark_asked(false);
}

static void not_attached(const struct plan_sched *sched, enum refuser who, const char *reason)
{
	char text[PLAN_NAME_BYTES + SCHED_REASON_BYTES + 4];

	if (run.refusal) {
		run.refusal->who = who;
		snprintf(run.refusal->reason, sizeof(run.refusal->reason), "%s", reason);
		return;
	}
	snprintf(text, sizeof(text), "%s: %s", sched->name, reason);
	host_lifecycle(PHASE_SCHEDULER_NOT_ATTACHED, text);
	machine_send_dmesg();
}

// Whether the kernel has enabled a scheduler since the last call. It counts them, so that one that was enabled and ejected
// between two looks is not taken for one that never attached. It counts a moment after the state says so, and 0 means that
// it has not yet.
static bool enabled_since(void)
{
	uint64_t seq = scx_enable_seq();
	bool since = scx_counts_enables() ? seq > run.enable_seq : !run.attached && scx_enabled();

	run.enable_seq = seq;
	run.enabled |= since;
	return since;
}

// Whether it has attached: the loader of an object says at once when to ask the kernel, which of a program is asked now and
// then.
static bool has_attached(void)
{
	if (run.program->linked && !run.attached && enabled_since())
		run.attached = true;
	return run.attached;
}

static bool is_running(void)
{
	return run.program->pid;
}

static void pump_until_reaped(uint64_t duration_ns)
{
	uint64_t deadline_ns = now_ns() + duration_ns;

	while (is_running() && now_ns() < deadline_ns)
		pump(deadline_ns);
}

// The kernel says of one that failed to start that it disabled it. For who asked, that is a refusal and no ejection.
static bool ejected_before_enabled(void)
{
	return run.refusal && !run.enabled;
}

static int await_attached(void)
{
	uint64_t deadline_ns = now_ns() + ATTACH_WITHIN_NS;

	while (!has_attached() && is_running() && now_ns() < deadline_ns && !host.shutdown)
		pump(deadline_ns);
	if (run.attached && ejected_before_enabled())
		pump_until_reaped(STOP_WITHIN_NS);
	has_attached();
	if (run.attached && !ejected_before_enabled()) {
		run.refusal = NULL;
		return 0; // even when it was ejected since
	}
	if (run.attached)
		not_attached(run.program->sched, REFUSER_KERNEL, run.kernel_line);
	else if (is_running() && !host.shutdown)
		not_attached(run.program->sched, REFUSER_NOBODY, "did not attach in time");
	sched_stop();
	run.refusal = NULL; // it is the caller's
	return -1;
}

int sched_start(const struct plan_sched *sched, struct sched_refusal *refusal)
{
	take_over(run.program, refusal);
	if (access(SCX_STATE_PATH, R_OK)) {
		not_attached(sched, REFUSER_KERNEL,
			     "this kernel has no sched_ext (" SCX_STATE_PATH " is missing)");
		return -1;
	}
	if (program_start(run.program, sched, false)) {
		not_attached(sched, REFUSER_NOBODY, strerror(errno));
		return -1;
	}
	return await_attached();
}

struct program *sched_spare_program(void)
{
	return program_other(run.program);
}

int sched_release(struct program *program, struct sched_refusal *refusal)
{
	take_over(program, refusal);
	program_release(program);
	return await_attached();
}

static void look_at_kernel(uint64_t now_ns);

static void note_ejected(const char *what)
{
	char text[PLAN_NAME_BYTES + 400];

	if (run.ejected)
		return;
	if (kmsg_fd >= 0)
		kmsg_ready(kmsg_fd); // the reason is written before the state changes
	run.ejected = true;
	run.ejected_at_ns = now_ns();
	if (ejected_before_enabled())
		return;
	run.any_ejected = true;
	// A scheduler that user space unregistered went because its program went: that says more.
	if (run.kernel_line[0] && !strstr(run.kernel_line, "unregistered from user space"))
		what = run.kernel_line;
	snprintf(text, sizeof(text), "%s: %s", run.program->sched->name, what);
	host_lifecycle(PHASE_SCHEDULER_DIED, text);
}

// A program whose scheduler was disabled may be about to attach it again: wait for that, or for look_at_kernel() to say that
// it did not in time.
static void await_restart(void)
{
	while (is_running() && run.attached && !run.ejected && run.gone_since_ns && !host.shutdown)
		pump(now_ns() + STATE_EVERY_NS);
}

// The kernel may have begun to take the scheduler down since the last look: what it does by itself is not what the program is
// asked for now.
static void look_once_more(void)
{
	uint64_t deadline_ns = now_ns() + STOP_WITHIN_NS;

	while (sched_loaded() && !scx_enabled() && !scx_disabled() && now_ns() < deadline_ns)
		pump(now_ns() + STATE_EVERY_NS / 10);
	if (sched_loaded())
		look_at_kernel(now_ns());
}

void sched_stop(void)
{
	uint64_t deadline_ns;

	look_once_more();
	await_restart();
	if (is_running() && run.attached && !run.ejected && run.gone_since_ns && scx_disabled())
		note_ejected("ejected by the kernel");
	if (run.ejected) // let it say what it has to say about that
		pump_until_reaped(STOP_WITHIN_NS);
	run.stopping = true;
	mark_asked(true);
	if (is_running()) {
		program_signal(run.program, SIGTERM);
		pump_until_reaped(STOP_WITHIN_NS);
	}
	if (is_running()) {
		program_signal(run.program, SIGKILL);
		pump_until_reaped(STOP_WITHIN_NS);
	}
	// The kernel takes the scheduler down after its last descriptor is closed.
	deadline_ns = now_ns() + STOP_WITHIN_NS;
	while (run.attached && !scx_disabled() && now_ns() < deadline_ns)
		pump(now_ns() + STATE_EVERY_NS);
	run.attached = false;
}

const struct plan_sched *sched_loaded(void)
{
	return is_running() && run.attached && !run.ejected ? run.program->sched : NULL;
}

uint64_t sched_enable_seq(void)
{
	return run.enable_seq;
}

bool sched_ejected(void)
{
	return run.ejected;
}

bool sched_any_ejected(void)
{
	return run.any_ejected;
}

void sched_why_not(struct program *program, const char *otherwise, struct sched_refusal *why)
{
	const char *last = refusal_last_line(&program->refusal);

	why->who = program->verified ? REFUSER_KERNEL : REFUSER_PROGRAM;
	if (refusal_reason(&program->refusal, why->reason, sizeof(why->reason)))
		why->who = program->refusal.who;
	else
		snprintf(why->reason, sizeof(why->reason), "%s%.500s",
			 program->verified ? "refused by the kernel: " : "", last[0] ? last : otherwise);
}

static void why_not_attached(const char *otherwise, struct sched_refusal *why)
{
	sched_why_not(run.program, otherwise, why);
	if (run.kernel_line[0] && (why->who == REFUSER_KERNEL || why->who == REFUSER_PROGRAM)) {
		why->who = REFUSER_KERNEL;
		snprintf(why->reason, sizeof(why->reason), "refused by the kernel: %s", run.kernel_line);
	}
}

static bool sched_reaped(pid_t pid, int status)
{
	struct sched_refusal why;
	char what[128];
	int code;

	if (!program_reaped(run.program, pid, status, &code))
		return false;
	if (WIFSIGNALED(status))
		snprintf(what, sizeof(what), "the scheduler's program died of signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(what, sizeof(what), "the scheduler's program ended with exit code %d", code);
	if (enabled_since())
		run.attached = true;
	if (!run.stopping && run.attached)
		note_ejected(what);
	host_printf(KTF_SCHED_LOG, "--- end %s: exit code %d ---\n", run.program->sched->name, code);
	if (!run.stopping && !run.attached) {
		why_not_attached(what, &why);
		not_attached(run.program->sched, why.who, why.reason);
	}
	host_i32(KTF_SCHED_EXIT, code);
	return true;
}

static void look_at_kernel(uint64_t now_ns)
{
	if (enabled_since()) {
		if (run.attached)
			host_printf(KTF_SCHED_LOG, "--- %s attached again ---\n", run.program->sched->name);
		run.attached = true;
		run.ejected = false;
		run.gone_since_ns = 0;
	}
	if (!run.attached)
		return;
	if (run.ejected) {
		if (now_ns > run.ejected_at_ns + STOP_WITHIN_NS)
			program_signal(run.program, SIGTERM); // it did not notice, or does not want to leave
		return;
	}
	if (!scx_disabled())
		return;
	if (!run.gone_since_ns) {
		run.gone_since_ns = now_ns;
		asleep_begin(&run.asleep, run.program->pid, now_ns);
	}
	if (run.program->sched->is_object || asleep_look(&run.asleep, now_ns) > RESTART_ASLEEP_NS ||
	    now_ns > run.gone_since_ns + RESTART_WITHIN_NS)
		note_ejected("ejected by the kernel");
}

// Look at the kernel's state when that is due.
static uint64_t sched_tick(uint64_t now_ns)
{
	if (!is_running() || run.stopping)
		return UINT64_MAX;
	has_attached();
	if (now_ns < run.state_at_ns)
		return run.state_at_ns;
	run.state_at_ns = now_ns + STATE_EVERY_NS;
	look_at_kernel(now_ns);
	return run.state_at_ns;
}

void sched_init(void)
{
	run.program = program_other(NULL);
	loop_register(sched_tick, sched_reaped);
}
