// SPDX-License-Identifier: MIT
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "loop.h"
#include "port.h"
#include "util.h"

#define STATS_WITHIN_NS (900 * NSEC_PER_MSEC) // less than a host waits, so that it hears why
#define OPEN_WITHIN_NS (10 * NSEC_PER_SEC) // the port; a machine may have none
#define RETRY_NS (50 * NSEC_PER_MSEC)
#define WRITE_RETRY_NS (2 * NSEC_PER_MSEC)
#define READ_BYTES 65536
#define WRITE_BYTES 32768 // what the kernel takes in one write to a port

enum phase {
	LISTENING, // for a line of the host
	SENDING, // it to the scheduler
	WAITING, // for the scheduler's line
	ANSWERING, // it to the host
};

struct line {
	char data[STATS_LINE_MAX + 1];
	size_t bytes; // in data
	size_t length; // of the first line, its newline included; 0 while that is not whole
	size_t sent;
};

static enum phase phase;
static int port = -1, scheduler = -1;
static bool port_watched, fresh; // fresh: the connection was made for the request at hand
static bool request_too_large;
static uint64_t first_tick_ns, retry_at_ns, deadline_ns;
static struct line request, answer;

// Take in what fd has. Returns what read returned.
static ssize_t line_read(struct line *line, int fd)
{
	size_t room = sizeof(line->data) - line->bytes;
	ssize_t n = read(fd, line->data + line->bytes, room < READ_BYTES ? room : READ_BYTES);
	char *end = n > 0 ? memchr(line->data + line->bytes, '\n', (size_t)n) : NULL;

	if (n > 0)
		line->bytes += (size_t)n;
	if (end)
		line->length = (size_t)(end - line->data) + 1;
	return n;
}

static bool line_too_large(const struct line *line)
{
	return !line->length && line->bytes == sizeof(line->data);
}

// Forget the first line and look for the next one in what came after it.
static void line_next(struct line *line)
{
	char *end;

	line->bytes -= line->length;
	memmove(line->data, line->data + line->length, line->bytes);
	end = memchr(line->data, '\n', line->bytes);
	line->length = end ? (size_t)(end - line->data) + 1 : 0;
	line->sent = 0;
}

static void hang_up(void)
{
	if (scheduler < 0)
		return;
	pump_unwatch(scheduler);
	close(scheduler);
	scheduler = -1;
}

static void answer_error(const char *error, const char *detail)
{
	int n = snprintf(answer.data, sizeof(answer.data),
			 "{\"ktstr_relay_error\":\"%s\",\"detail\":\"%s\"}\n", error, detail);

	hang_up();
	answer.bytes = answer.length = (size_t)n;
	answer.sent = 0;
	phase = ANSWERING;
}

static int connect_scheduler(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = STATS_SOCKET };
	int error;

	scheduler = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (scheduler < 0)
		return errno;
	if (!connect(scheduler, (struct sockaddr *)&address, sizeof(address)))
		return 0;
	error = errno;
	hang_up();
	return error;
}

static void try_request(void)
{
	int error = 0;

	request.sent = 0;
	answer.bytes = answer.length = 0;
	fresh = scheduler < 0;
	if (fresh)
		error = connect_scheduler();
	if (error == ENOENT || error == ECONNREFUSED)
		answer_error("no scheduler", "no server at " STATS_SOCKET);
	else if (error)
		answer_error("busy", strerror(error)); // EAGAIN: others wait for it to accept already
	else
		phase = SENDING;
}

static void begin_request(void)
{
	deadline_ns = now_ns() + STATS_WITHIN_NS;
	try_request();
}

// The scheduler hung up. A connection from before may have been a dead one's: try once more.
static void scheduler_gone(void)
{
	bool again = !fresh;

	hang_up();
	if (again)
		try_request();
	else
		answer_error("closed", "the scheduler closed its socket");
}

static void scheduler_ready(int fd)
{
	ssize_t n;

	if (fd != scheduler || phase != WAITING)
		return;
	n = line_read(&answer, fd);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		scheduler_gone();
		return;
	}
	if (line_too_large(&answer)) {
		answer_error("response too large", "more than 256 KiB");
	} else if (answer.length) {
		pump_unwatch(fd);
		if (answer.bytes > answer.length) // out of step: nothing more was asked for
			hang_up();
		answer.sent = 0;
		phase = ANSWERING;
	}
}

static void send_request(void)
{
	ssize_t n = send(scheduler, request.data + request.sent, request.length - request.sent, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		scheduler_gone();
		return;
	}
	request.sent += n > 0 ? (size_t)n : 0;
	if (request.sent == request.length) {
		phase = WAITING;
		pump_watch(scheduler, scheduler_ready);
	}
}

static void send_answer(void)
{
	while (answer.sent < answer.length) {
		size_t rest = answer.length - answer.sent;
		ssize_t n = write(port, answer.data + answer.sent, rest < WRITE_BYTES ? rest : WRITE_BYTES);

		if (n <= 0)
			return; // full, or the host is away
		answer.sent += (size_t)n;
	}
	line_next(&request);
	phase = LISTENING;
}

// Drop the line that is too long up to its end, and answer it then.
static void skip_too_large(void)
{
	if (!request.length) {
		request.bytes = 0;
		return;
	}
	request_too_large = false;
	answer_error("request too large", "more than 256 KiB");
}

static void port_ready(int fd)
{
	if (phase != LISTENING)
		return;
	if (line_read(&request, fd) == 0) { // the host is away
		pump_unwatch(fd);
		port_watched = false;
		retry_at_ns = now_ns() + RETRY_NS;
	}
	request_too_large |= line_too_large(&request);
	if (request_too_large)
		skip_too_large();
	if (phase == LISTENING && request.length)
		begin_request();
}

static void open_port(uint64_t now)
{
	char path[80];

	retry_at_ns = now + RETRY_NS;
	if (port_find(STATS_PORT_NAME, path, sizeof(path)))
		port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

static void advance(uint64_t now)
{
	if (phase == LISTENING && request.length)
		begin_request(); // it came with the one before
	if ((phase == SENDING || phase == WAITING) && now >= deadline_ns)
		answer_error("timeout", "the scheduler did not answer in time");
	if (phase == SENDING)
		send_request();
	if (phase == ANSWERING)
		send_answer();
}

static uint64_t stats_tick(uint64_t now)
{
	bool listens;

	if (!first_tick_ns)
		first_tick_ns = now;
	if (port < 0 && now < first_tick_ns + OPEN_WITHIN_NS && now >= retry_at_ns)
		open_port(now);
	if (port < 0)
		return now < first_tick_ns + OPEN_WITHIN_NS ? retry_at_ns : UINT64_MAX;
	advance(now);
	listens = phase == LISTENING && now >= retry_at_ns;
	if (listens && !port_watched)
		pump_watch(port, port_ready);
	if (!listens && port_watched)
		pump_unwatch(port);
	port_watched = listens;
	if (phase == LISTENING)
		return listens ? (request.length ? now : UINT64_MAX) : retry_at_ns;
	return phase == WAITING ? deadline_ns : now + WRITE_RETRY_NS;
}

void stats_init(void)
{
	loop_register(stats_tick, NULL);
}
