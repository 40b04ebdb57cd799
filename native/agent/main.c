// SPDX-License-Identifier: MIT
// Entry, and the course of a run from boot to power-off.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "ask.h"
#include "host.h"
#include "kconfig.h"
#include "loader.h"
#include "loop.h"
#include "machine.h"
#include "op.h"
#include "plan.h"
#include "port.h"
#include "saved.h"
#include "scheduler.h"
#include "stats.h"
#include "swap.h"
#include "util.h"
#include "worker.h"

#define PLAN_PATH "/ktstr/plan"
#define PORT_WITHIN_NS (10 * NSEC_PER_SEC)
#define ACCESSOR_WITHIN_NS (5 * NSEC_PER_SEC)
#define DRAIN_WITHIN_NS (5 * NSEC_PER_SEC)
#define LINGER_NS (300 * NSEC_PER_MSEC)
#define FAREWELL_NS (3 * NSEC_PER_SEC)
#define OP_SCHEDULER_BIT 31 // in Stimulus.op_kinds, above the kinds of operations

static struct plan plan;
static uint64_t scenario_start_ns;
static bool may_be_ejected; // a scheduler is or was attached in the current step

static uint64_t elapsed_ms(void)
{
	return (now_ns() - scenario_start_ns) / NSEC_PER_MSEC;
}

// The kinds of a step's operations, above those of workers.
static uint32_t step_op_kinds(const struct plan_step *step)
{
	uint32_t kinds = 0;

	_Static_assert(WORKER_KINDS + OP_KINDS - 1 <= OP_SCHEDULER_BIT, "every kind has a bit");
	for (uint32_t i = 0; i < step->nr_ops; i++)
		kinds |= 1u << (WORKER_KINDS + step->ops[i].kind - 1);
	return kinds;
}

// Stimulus at the start of a step and StepEnd at its end have one body.
static void send_step(uint32_t msg_type, uint16_t index, const struct plan_step *step)
{
	struct {
		uint32_t elapsed_ms;
		uint16_t step_index, op_count;
		uint32_t op_kinds;
		uint16_t cgroup_count, worker_count;
		uint64_t total_iterations;
	} body = {
		.elapsed_ms = (uint32_t)elapsed_ms(),
		.step_index = index,
		.op_count = (uint16_t)(step->nr_groups + (step->sched >= 0) + step->nr_ops),
		.op_kinds = worker_op_kinds(step) | step_op_kinds(step) |
			    (step->sched >= 0 ? 1u << OP_SCHEDULER_BIT : 0),
		.cgroup_count = (uint16_t)op_cgroups(),
		.worker_count = (uint16_t)worker_count(),
		.total_iterations = worker_iterations(),
	};

	_Static_assert(sizeof(body) == 24, "the wire's size of a Stimulus");
	port_send(msg_type, &body, sizeof(body));
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

// Do the operation of a step that is due, if one is. Returns when the next one is.
static uint64_t serve_ops(uint16_t index, const struct plan_step *step, uint64_t start_ns, uint32_t *done)
{
	const struct plan_op *op = &step->ops[*done];

	if (*done < step->nr_ops && now_ns() >= start_ns + op->at_ms * NSEC_PER_MSEC) {
		if (!op_do(index, (uint16_t)*done, op))
			may_be_ejected |= op->kind == OP_ATTACH_SCHEDULER;
		++*done, ++op;
	}
	return *done < step->nr_ops ? start_ns + op->at_ms * NSEC_PER_MSEC : UINT64_MAX;
}

static void run_until_step_ends(uint16_t index, const struct plan_step *step)
{
	uint64_t start_ns = now_ns();
	uint64_t end_ns = start_ns + step->duration_ms * NSEC_PER_MSEC;
	uint64_t capture_ns =
		step->capture[0] ? start_ns + step->duration_ms * NSEC_PER_MSEC / 2 : UINT64_MAX;
	uint32_t done = 0;
	char detail[8];

	may_be_ejected = step->sched >= 0;
	// What is to be done in the step is done, however long that takes.
	while (!host.shutdown && (now_ns() < end_ns || done < step->nr_ops)) {
		uint64_t op_ns;

		swap_serve();
		if (step->until_ejected && may_be_ejected && sched_ejected())
			break;
		if (now_ns() >= capture_ns) {
			capture_ns = UINT64_MAX;
			ask_request(HOST_CAPTURE, step->capture, detail, sizeof(detail));
		}
		op_ns = serve_ops(index, step, start_ns, &done);
		pump(min_u64(min_u64(capture_ns, op_ns), end_ns));
	}
	for (; done < step->nr_ops; done++)
		op_pass_over(index, (uint16_t)done, &step->ops[done]);
}

// Bring up the scheduler of a step; the one of the step before stays when it is the same and still loaded.
static int switch_scheduler(const struct plan_step *step)
{
	const struct plan_sched *sched = step->sched < 0 ? NULL : &plan.scheds[step->sched];

	swap_begin_step(step->sched);
	if (sched && sched_loaded() == sched)
		return 0;
	sched_stop();
	return sched ? sched_start(sched, NULL) : 0;
}

static enum agent_exit run_step(uint16_t index, const struct plan_step *step)
{
	char problem[256] = "", detail[8];

	if (switch_scheduler(step))
		return host.shutdown ? EXIT_DONE : EXIT_NOT_ATTACHED;
	if (worker_start(step, problem, sizeof(problem))) {
		host_printf(KTF_STDERR, "ktstr-agent: step %s: %s\n", step->name, problem);
		worker_stop();
		return EXIT_BROKEN;
	}
	send_step(KTF_STIMULUS, index, step);
	worker_report(); // names the senders of the beats to come
	port_flush();
	if (step->watch[0])
		ask_request(HOST_WATCH, step->watch, detail, sizeof(detail));
	if (step->fail[0]) {
		pump(now_ns() + LINGER_NS);
		machine_fail(step->fail);
	}
	run_until_step_ends(index, step);
	worker_report();
	send_step(KTF_STEP_END, index, step);
	worker_stop();
	return EXIT_DONE;
}

static enum agent_exit run_scenario(void)
{
	struct {
		uint64_t elapsed_ms, total_iterations;
	} end;
	enum agent_exit exit = EXIT_DONE;

	host_lifecycle(PHASE_PAYLOAD_STARTING, NULL);
	scenario_start_ns = now_ns();
	op_begin(scenario_start_ns);
	port_send(KTF_SCENARIO_START, NULL, 0);
	for (uint32_t i = 0; i < plan.nr_cgroups; i++)
		if (op_do(OP_BEFORE_STEPS, (uint16_t)i, &plan.cgroups[i]))
			exit = EXIT_BROKEN;
	for (uint32_t i = 0; i < plan.nr_steps && exit == EXIT_DONE && !host.shutdown; i++)
		exit = run_step((uint16_t)i, &plan.steps[i]);
	swap_end();
	sched_stop();
	end.elapsed_ms = elapsed_ms();
	end.total_iterations = worker_iterations();
	port_send(KTF_SCENARIO_END, &end, sizeof(end));
	if (exit == EXIT_DONE && sched_any_ejected() && !host.shutdown)
		exit = EXIT_EJECTED;
	return exit;
}

// A write that returned only means that the frame is in the device's queue, and what is there when the machine goes off
// is lost. So the host answers Exit with Shutdown, and nothing else ends the wait for it but a closed port or time.
static void leave(enum agent_exit exit)
{
	uint64_t deadline_ns = now_ns() + DRAIN_WITHIN_NS;

	host.shutdown = false;
	host_i32(KTF_EXIT, exit);
	while (port_pending() && now_ns() < deadline_ns)
		pump(deadline_ns);
	deadline_ns = now_ns() + FAREWELL_NS;
	while (!host.shutdown && port_connected() && now_ns() < deadline_ns)
		pump(deadline_ns);
}

static enum agent_exit run(void)
{
	char problem[256];
	uint64_t deadline_ns;

	if (plan_read(PLAN_PATH, &plan, problem, sizeof(problem))) {
		host_printf(KTF_STDERR, "ktstr-agent: %s\n", problem);
		machine_send_dmesg();
		return EXIT_BROKEN;
	}
	deadline_ns = now_ns() + ACCESSOR_WITHIN_NS;
	while (!host.accessor_ready && !host.shutdown && now_ns() < deadline_ns)
		pump(deadline_ns);
	return run_scenario();
}

static void boot(void)
{
	char problem[256] = "";

	if (machine_mount(problem, sizeof(problem)) || loop_init() || worker_init()) {
		fprintf(stderr, "ktstr-agent: %s\n", problem[0] ? problem : "no memory");
		machine_power_off();
	}
	kconfig_place();
	sched_init();
	stats_init();
	swap_init(&plan);
	op_init();
	machine_set_fifo(PRIO_AGENT);
	signal(SIGPIPE, SIG_IGN);
	if (port_open(now_ns() + PORT_WITHIN_NS)) {
		fprintf(stderr, "ktstr-agent: no virtio-serial port named %s\n", PORT_NAME);
		machine_power_off();
	}
	if (saved_boot(problem, sizeof(problem))) {
		fprintf(stderr, "ktstr-agent: the files of the run did not come: %s\n", problem);
		machine_power_off();
	}
	host_lifecycle(PHASE_INIT_STARTED, NULL);
	host_kernel_addresses();
	port_send(KTF_SYS_RDY, NULL, 0);
	port_flush();
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[0], LOADER_NAME))
		return loader_main(argv[1], atoi(argv[2]));
	if (getpid() != 1) {
		fprintf(stderr,
			"ktstr-agent is the init program of a test guest and runs as process 1 only\n");
		return EXIT_BROKEN;
	}
	boot();
	leave(run());
	machine_power_off();
}
