// PID 1 of a guest that asks its host to read and write its own kernel, and says what it sees of that itself.
//
// Everything is a frame. Besides requests it sends Stdout frames of one line each, "NAME VALUE": what the guest
// knows by its own means. It ends by waiting for a word from the host, and powers off.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frames/ktstr_frames.h"

static int port = -1;
static uint8_t body[4096];
static size_t used;

static void send_frame(uint32_t type, const void *payload, uint32_t length, int break_crc)
{
	static uint8_t frame[8192];
	size_t size = ktf_encode(frame, sizeof(frame), type, payload, length);

	frame[8] ^= break_crc ? 0xff : 0;
	for (size_t at = 0; at < size;) {
		ssize_t n = write(port, frame + at, size - at);

		if (n > 0)
			at += n;
		else
			usleep(1000);
	}
}

static void tell(const char *format, ...)
{
	char line[512];
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	send_frame(KTF_STDOUT, line, n, 0);
}

// MessagePack, as much as a request needs.
static void put(const void *data, size_t length)
{
	memcpy(body + used, data, length);
	used += length;
}

static void put_byte(uint8_t byte)
{
	put(&byte, 1);
}

static void put_text(const char *text)
{
	put_byte(0xd9);
	put_byte(strlen(text));
	put(text, strlen(text));
}

static void put_number(uint64_t value)
{
	put_byte(0xcf);
	for (int shift = 56; shift >= 0; shift -= 8)
		put_byte(value >> shift);
}

static void put_pair(const char *name, const char *text)
{
	put_text(name);
	put_text(text);
}

// The head of a request with one entry; its target and its value follow.
static void begin(uint32_t id, const char *mode, const char *direction)
{
	used = 0;
	put(&id, 4);
	put_byte(0x83);
	put_pair("mode", mode);
	put_pair("direction", direction);
	put_text("entries");
	put_byte(0x91);
	put_byte(0x82);
	put_text("target");
}

static void target_symbol(const char *name)
{
	put_byte(0x82);
	put_pair("type", "symbol");
	put_pair("name", name);
	put_text("value");
}

static void target_task(int pid, const char *field, uint64_t start_ns)
{
	put_byte(start_ns ? 0x84 : 0x83);
	put_pair("type", "task");
	put_text("pid");
	put_number(pid);
	put_pair("field", field);
	if (start_ns) {
		put_text("expected_start_time_ns");
		put_number(start_ns);
	}
	put_text("value");
}

static void value(const char *type, uint64_t number)
{
	put_byte(0x82);
	put_pair("type", type);
	put_text("value");
	put_number(number);
}

// Wait for the reply and hand it to the host again, in hexadecimal digits, as what the guest got.
static size_t await_reply(const char *name, uint8_t *payload, size_t most)
{
	static uint8_t frame[8192];
	static char digits[8192];
	size_t have = 0, length = 0;

	while (have < 16 || have < 16 + length) {
		ssize_t n = read(port, frame + have, (have < 16 ? 16 : 16 + length) - have);

		if (n <= 0) {
			usleep(1000);
			continue;
		}
		have += n;
		if (have >= 16)
			length = frame[4] | frame[5] << 8 | frame[6] << 16;
	}
	for (size_t at = 0; at < length; at++)
		sprintf(digits + 2 * at, "%02x", frame[16 + at]);
	tell("%s %.*s\n", name, (int)(2 * length), digits);
	memcpy(payload, frame + 16, length < most ? length : most);
	return length;
}

static void ask(const char *name)
{
	uint8_t payload[1024];

	send_frame(KTF_KERNEL_OP_REQUEST, body, used, 0);
	await_reply(name, payload, sizeof(payload));
}

static void tell_file(const char *name, const char *path)
{
	char text[128] = "";
	int fd = open(path, O_RDONLY);

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		strcpy(text, strerror(errno));
	close(fd);
	tell("%s %.*s\n", name, (int)strcspn(text, "\n"), text);
}

// The number at the end of a reply with one value, as msgpack gives it in eight bytes or fewer.
static uint64_t last_number(const uint8_t *payload, size_t length)
{
	uint64_t number = 0;

	for (size_t back = 1; back <= 9 && back <= length; back *= 2) {
		const uint8_t *tag = payload + length - back - 1;

		if ((back == 1 && *tag == 0xcc) || (back == 2 && *tag == 0xcd) ||
		    (back == 4 && *tag == 0xce) || (back == 8 && *tag == 0xcf)) {
			for (size_t at = 1; at <= back; at++)
				number = number << 8 | tag[at];
			return number;
		}
	}
	return payload[length - 1];
}

static int child(void)
{
	int pid = fork();

	if (!pid)
		for (;;)
			pause();
	return pid;
}

// The task that gets the pid of one that is gone is another one.
static void recycle(void)
{
	char text[32];
	uint8_t payload[1024];
	size_t length;
	uint64_t start_ns;
	int first = child(), second, fd;

	begin(20, "hot", "read");
	target_task(first, "start_time", 0);
	value("u64", 0);
	send_frame(KTF_KERNEL_OP_REQUEST, body, used, 0);
	length = await_reply("start-time", payload, sizeof(payload));
	start_ns = last_number(payload, length);
	kill(first, SIGKILL);
	waitpid(first, NULL, 0);
	begin(21, "cold", "read");
	target_task(first, "start_time", start_ns);
	value("u64", 0);
	ask("of-the-dead");
	fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
	snprintf(text, sizeof(text), "%d", first - 1);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		tell("last-pid %s\n", strerror(errno));
	close(fd);
	second = child();
	tell("recycled %d %d %llu\n", first, second, (unsigned long long)start_ns);
	for (int cold = 0; cold < 2; cold++) {
		begin(22 + cold, cold ? "cold" : "hot", "write");
		target_task(first, "scx.weight", start_ns);
		value("u32", 4242);
		ask(cold ? "heir-cold" : "heir-hot");
	}
	begin(24, "hot", "read");
	target_task(second, "scx.weight", 0);
	value("u32", 0);
	ask("weight-of-the-heir");
	kill(second, SIGKILL);
	waitpid(second, NULL, 0);
}

static void open_port(void)
{
	while (port < 0) {
		port = open("/dev/vport0p1", O_RDWR);
		if (port < 0)
			port = open("/dev/vport1p1", O_RDWR);
		usleep(1000);
	}
}

int main(void)
{
	uint8_t word[64];

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	open_port();
	send_frame(KTF_SYS_RDY, NULL, 0, 0);
	await_reply("accessor", word, sizeof(word));
	send_frame(KTF_PAYLOAD_METRICS, "{\"p99_us\": 12}", 14, 0);
	send_frame(KTF_PAYLOAD_METRICS, "{\"p99_us\": 13}", 14, 1);

	tell_file("panic-at-first", "/proc/sys/kernel/panic");
	begin(1, "hot", "write");
	target_symbol("panic_timeout");
	value("u32", 41);
	ask("hot");
	tell_file("panic-hot", "/proc/sys/kernel/panic");
	begin(2, "cold", "write");
	target_symbol("panic_timeout");
	value("or-u32", 0x100);
	ask("cold");
	tell_file("panic-cold", "/proc/sys/kernel/panic");
	begin(3, "cold", "read");
	target_symbol("panic_timeout");
	value("u32", 0);
	ask("read");

	begin(4, "hot", "write");
	target_symbol("linux_proc_banner");
	value("u32", 0);
	ask("banner");
	tell_file("version", "/proc/version");

	begin(5, "hot", "write");
	target_symbol("panic_timeout");
	value("u32", 99);
	send_frame(KTF_KERNEL_OP_REQUEST, body, used, 1);
	await_reply("bad-crc", word, sizeof(word));
	used -= 3;
	ask("torn");
	tell_file("panic-at-last", "/proc/sys/kernel/panic");
	recycle();
	tell("done -\n");
	await_reply("end", word, sizeof(word));
	reboot(RB_POWER_OFF);
	return 0;
}
