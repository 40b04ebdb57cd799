// SPDX-License-Identifier: MIT
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "host.h"
#include "loader.h"
#include "loop.h"
#include "machine.h"

static struct program programs[2] = { { .log_fd = -1, .hold_fd = -1 }, { .log_fd = -1, .hold_fd = -1 } };

struct program *program_other(const struct program *other)
{
	return other == &programs[0] ? &programs[1] : &programs[0];
}

static struct program *program_of(int fd)
{
	return programs[0].log_fd == fd || programs[0].hold_fd == fd ? &programs[0] : &programs[1];
}

static void close_fd(int *fd)
{
	if (*fd < 0)
		return;
	pump_unwatch(*fd);
	close(*fd);
	*fd = -1;
}

static void keep_log(struct program *program, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		program->log[program->log_bytes++ % PROGRAM_LOG_BYTES] = text[i];
}

size_t program_log(const struct program *program, char *text, size_t bytes)
{
	size_t have = program->log_bytes < PROGRAM_LOG_BYTES ? program->log_bytes : PROGRAM_LOG_BYTES;
	size_t take = have < bytes ? have : bytes;
	size_t from = program->log_bytes - take, cut = 0;

	for (size_t i = 0; i < take; i++)
		text[i] = program->log[(from + i) % PROGRAM_LOG_BYTES];
	if (take < program->log_bytes) { // the first line is a part of one
		const char *end = memchr(text, '\n', take);

		cut = end ? (size_t)(end - text) + 1 : 0;
		memmove(text, text + cut, take - cut);
	}
	return take - cut;
}

static void log_ready(int fd)
{
	struct program *program = program_of(fd);
	char text[TEXT_CHUNK_BYTES];
	ssize_t n;

	for (int i = 0; i < TEXT_CHUNKS_MAX; i++) {
		n = read(fd, text, sizeof(text));
		if (n <= 0)
			break;
		refusal_read(&program->refusal, text, (size_t)n);
		keep_log(program, text, (size_t)n);
		host_text(KTF_SCHED_LOG, text, (size_t)n);
	}
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	close_fd(&program->log_fd);
}

static void hold_ready(int fd)
{
	struct program *program = program_of(fd);
	char said[8];
	ssize_t n = read(fd, said, sizeof(said));

	for (ssize_t i = 0; i < n; i++) {
		program->verified |= said[i] == LOADER_VERIFIED;
		program->linked |= said[i] == LOADER_ATTACHED;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN))
		close_fd(&program->hold_fd);
}

static void exec_object(const struct plan_sched *sched, int hold_fd, bool hold)
{
	char fd[16];

	if (hold)
		machine_set_share();
	else
		machine_set_fifo(PRIO_LOADER);
	fcntl(hold_fd, F_SETFD, 0);
	snprintf(fd, sizeof(fd), "%d", hold_fd);
	execl("/proc/self/exe", LOADER_NAME, sched->argv[0], fd, (char *)NULL);
}

static void exec_program(const struct plan_sched *sched)
{
	char libraries[512];

	snprintf(libraries, sizeof(libraries), "%.*s/lib",
		 (int)(strrchr(sched->argv[0], '/') - sched->argv[0]), sched->argv[0]);
	setenv("LD_LIBRARY_PATH", libraries, 1);
	execv(sched->argv[0], sched->argv);
}

static void exec_scheduler(const struct plan_sched *sched, int log_fd, int hold_fd, bool hold)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(log_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	if (sched->is_object)
		exec_object(sched, hold_fd, hold);
	else
		exec_program(sched);
	fprintf(stderr, "exec %s: %s\n", sched->argv[0], strerror(errno));
	_exit(127);
}

static void close_pair(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void begin(struct program *program, const struct plan_sched *sched)
{
	close_fd(&program->log_fd); // of one that could not be killed
	close_fd(&program->hold_fd);
	program->sched = sched;
	program->verified = program->linked = false;
	program->log_bytes = 0;
	refusal_reset(&program->refusal);
}

int program_start(struct program *program, const struct plan_sched *sched, bool hold)
{
	int log[2], held[2];

	begin(program, sched);
	if (pipe2(log, O_CLOEXEC))
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, held)) {
		close_pair(log);
		return -1;
	}
	program->pid = fork();
	if (!program->pid)
		exec_scheduler(sched, log[1], held[1], hold);
	if (program->pid < 0) {
		program->pid = 0;
		close_pair(log);
		close_pair(held);
		return -1;
	}
	close(log[1]);
	close(held[1]);
	fcntl(log[0], F_SETFL, O_NONBLOCK);
	program->log_fd = log[0];
	pump_watch(log[0], log_ready);
	if (sched->is_object) {
		fcntl(held[0], F_SETFL, O_NONBLOCK);
		program->hold_fd = held[0];
		pump_watch(held[0], hold_ready);
	} else {
		close(held[0]);
	}
	if (!hold)
		program_release(program);
	host_printf(KTF_SCHED_LOG, "--- begin %s ---\n", sched->name);
	return 0;
}

void program_release(struct program *program)
{
	const char go = LOADER_GO;

	// One byte always fits; a loader that is gone will be reaped.
	if (program->hold_fd >= 0 && send(program->hold_fd, &go, sizeof(go), MSG_NOSIGNAL) < 0)
		close_fd(&program->hold_fd);
}

// The process alone when it was not yet scheduled to make a group.
void program_signal(const struct program *program, int signal)
{
	if (kill(-program->pid, signal))
		kill(program->pid, signal);
}

static int exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool program_reaped(struct program *program, pid_t pid, int status, int *code)
{
	if (!program->pid || pid != program->pid)
		return false;
	program->pid = 0;
	if (program->log_fd >= 0)
		log_ready(program->log_fd);
	if (program->hold_fd >= 0)
		hold_ready(program->hold_fd);
	close_fd(&program->log_fd); // even when a child of it holds the pipe open
	close_fd(&program->hold_fd);
	*code = exit_code(status);
	return true;
}
