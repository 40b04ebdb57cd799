// SPDX-License-Identifier: MIT
#include "upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../frames/ktstr_frames.h"

static struct {
	uint32_t id; // 0 while there is none
	uint32_t size, crc; // as announced
	uint32_t got, got_crc;
	int fd; // -1 once something was wrong
	char name[PLAN_NAME_BYTES];
	char path[UPLOAD_PATH_BYTES];
	char problem[256]; // empty while all is well
} upload = { .fd = -1 };

struct upload_head {
	uint32_t id, crc, size;
	char name[PLAN_NAME_BYTES];
};

struct chunk_head {
	uint32_t id, offset;
};

static void close_file(void)
{
	if (upload.fd >= 0)
		close(upload.fd);
	upload.fd = -1;
}

static void __attribute__((format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list args;

	if (upload.problem[0])
		return;
	va_start(args, format);
	vsnprintf(upload.problem, sizeof(upload.problem), format, args);
	va_end(args);
	close_file();
	upload_remove(upload.path);
	upload.path[0] = '\0';
}

void upload_remove(const char *path)
{
	char directory[UPLOAD_PATH_BYTES];
	char *end;

	if (strncmp(path, UPLOAD_DIR "/", sizeof(UPLOAD_DIR)))
		return;
	snprintf(directory, sizeof(directory), "%s", path);
	unlink(directory);
	end = strrchr(directory, '/');
	*end = '\0';
	rmdir(directory);
}

// libbpf names the maps after the file, so it is called as the object is, without what has a meaning in a path.
static void choose_path(void)
{
	int at = snprintf(upload.path, sizeof(upload.path), UPLOAD_DIR "/%u", upload.id);

	mkdir(UPLOAD_DIR, 0700);
	mkdir(upload.path, 0700);
	snprintf(upload.path + at, sizeof(upload.path) - (size_t)at, "/%s", upload.name);
	for (char *c = upload.path + at + 1; *c; c++)
		if (*c == '/' || (*c == '.' && c == upload.path + at + 1))
			*c = '_';
}

static void forget(void)
{
	close_file();
	if (upload.path[0])
		upload_remove(upload.path);
	memset(&upload, 0, sizeof(upload));
	upload.fd = -1;
}

void upload_begin(const uint8_t *payload, size_t bytes)
{
	struct upload_head head;

	forget();
	if (bytes != sizeof(head))
		return;
	memcpy(&head, payload, sizeof(head));
	upload.id = head.id;
	upload.size = head.size;
	upload.crc = head.crc;
	if (!head.size || head.size > UPLOAD_MAX_BYTES) {
		fail("an object of %u bytes is refused: 1 to %u are allowed", head.size, UPLOAD_MAX_BYTES);
		return;
	}
	if (!head.name[0] || !memchr(head.name, '\0', sizeof(head.name))) {
		fail("the object has no name");
		return;
	}
	memcpy(upload.name, head.name, sizeof(upload.name));
	choose_path();
	upload.fd = open(upload.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (upload.fd < 0)
		fail("%s: %s", UPLOAD_DIR, strerror(errno));
}

void upload_chunk(const uint8_t *payload, size_t bytes)
{
	struct chunk_head head;
	size_t length;

	if (bytes < sizeof(head))
		return;
	memcpy(&head, payload, sizeof(head));
	if (!upload.id || head.id != upload.id || upload.problem[0])
		return;
	length = bytes - sizeof(head);
	payload += sizeof(head);
	if (!length || length > UPLOAD_CHUNK_BYTES) {
		fail("a piece of %zu bytes is refused: 1 to %u are allowed", length, UPLOAD_CHUNK_BYTES);
	} else if (head.offset != upload.got) {
		fail("a piece is missing: %u bytes came, and the next piece begins at %u", upload.got,
		     head.offset);
	} else if (length > upload.size - upload.got) {
		fail("more came than the %u bytes that were announced", upload.size);
	} else if (write(upload.fd, payload, length) != (ssize_t)length) {
		fail("the guest has no room for it: %s", strerror(errno));
	} else {
		upload.got_crc = ktf_crc32(upload.got_crc, payload, length);
		upload.got += (uint32_t)length;
	}
}

void upload_damaged(void)
{
	if (upload.id && upload.got < upload.size)
		fail("a piece came damaged");
}

const char *upload_finish(uint32_t id, char path[UPLOAD_PATH_BYTES], char name[PLAN_NAME_BYTES])
{
	static char problem[sizeof(upload.problem)];

	if (!upload.id || id != upload.id)
		return "no object came";
	if (upload.got != upload.size)
		fail("only %u of %u bytes came", upload.got, upload.size);
	else if (upload.got_crc != upload.crc)
		fail("the object came damaged: its CRC is %08x, not %08x", upload.got_crc, upload.crc);
	memcpy(problem, upload.problem, sizeof(problem));
	memcpy(path, upload.path, UPLOAD_PATH_BYTES);
	memcpy(name, upload.name, PLAN_NAME_BYTES);
	upload.path[0] = '\0'; // it belongs to the caller now
	forget();
	return problem[0] ? problem : NULL;
}
