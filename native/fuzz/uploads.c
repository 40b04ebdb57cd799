// SPDX-License-Identifier: MIT
//
// Fuzz target: the guest's receiver of objects.
//
// The input is a program of operations: announcements and pieces, sound or with any bytes, damage, ends and removals. An
// object is given out only when its pieces came whole and in order and its CRC is right, and then it is what was sent.
// After each input nothing is left of what was not given out.
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define UPLOAD_DIR "uploads"
#include "../agent/upload.c"
#include "../frames/ktstr_frames.c"
#include "script.h"

#define OPERATIONS_MAX 60
#define MODEL_BYTES (1u << 20)

static uint8_t model[MODEL_BYTES]; // what the pieces held that were sent as they should be
static uint32_t model_id, model_size, model_got;
static bool model_ok;

static void announce(struct script *s)
{
	struct upload_head head = { .id = take8(s) % 4, .size = take16(s), .name = "object.o" };
	uint8_t odd = take8(s) % 8;

	if (odd == 1)
		head.size = take32(s);
	if (odd == 2)
		memset(head.name, take8(s), sizeof(head.name));
	if (odd == 3)
		snprintf(head.name, sizeof(head.name), "%.*s", (int)(s->left < 99 ? s->left : 99),
			 (const char *)s->at);
	if (odd == 4)
		strcpy(head.name, "../../.x/y");
	model_id = head.id;
	model_size = head.size;
	model_got = 0;
	model_ok = head.size && head.size <= UPLOAD_MAX_BYTES && head.name[0] &&
		   memchr(head.name, '\0', sizeof(head.name));
	head.crc = take32(s);
	upload_begin((const uint8_t *)&head, odd == 5 ? take16(s) % sizeof(head) : sizeof(head));
	if (odd == 5)
		model_id = 0;
}

static void piece(struct script *s)
{
	static uint8_t payload[sizeof(struct chunk_head) + UPLOAD_CHUNK_BYTES + 2];
	struct chunk_head head = { .id = take8(s) % 8 ? model_id : take8(s), .offset = model_got };
	uint32_t length = take16(s);
	uint8_t fill = take8(s);

	if (take8(s) % 8 == 0)
		head.offset = take32(s);
	if (length > UPLOAD_CHUNK_BYTES + 1)
		length = UPLOAD_CHUNK_BYTES + 1;
	memcpy(payload, &head, sizeof(head));
	memset(payload + sizeof(head), fill, length);
	upload_chunk(payload, take8(s) % 16 ? sizeof(head) + length : take8(s) % sizeof(head));
	if (model_id && head.id == model_id && upload.problem[0])
		model_ok = false;
	if (model_id && head.id == model_id && upload.id == model_id && upload.got == model_got + length &&
	    length) {
		if (upload.got <= MODEL_BYTES)
			memset(model + model_got, fill, length);
		model_got = upload.got;
	}
	MUST(upload.got <= upload.size && upload.got <= UPLOAD_MAX_BYTES);
}

static void compare(const char *path)
{
	static uint8_t content[MODEL_BYTES];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	MUST(fd >= 0 && !strncmp(path, UPLOAD_DIR "/", sizeof(UPLOAD_DIR)) && !strstr(path, "/../"));
	n = read(fd, content, sizeof(content));
	close(fd);
	MUST(n == (ssize_t)model_size && !memcmp(content, model, model_size));
}

static void end(struct script *s)
{
	char path[UPLOAD_PATH_BYTES] = "", name[PLAN_NAME_BYTES];
	uint32_t id = take8(s) % 4;
	bool right = take8(s) % 2;

	if (right && model_got <= MODEL_BYTES)
		upload.crc = ktf_crc32(0, model, model_got);
	right = model_id && id == model_id;
	if (upload_finish(id, path, name)) {
		upload_remove(path);
	} else {
		MUST(right && model_ok && model_got == model_size);
		compare(path);
		upload_remove(path);
	}
	if (right)
		model_id = 0;
}

static void operate(struct script *s)
{
	switch (take8(s) % 8) {
	case 0:
	case 1:
		announce(s);
		break;
	case 5:
		end(s);
		break;
	case 6:
		upload_damaged();
		model_ok &= !(upload.id && upload.problem[0]);
		break;
	case 7:
		upload_remove("/etc/passwd");
		break;
	default:
		piece(s);
	}
}

static void must_be_empty(void)
{
	DIR *directory = opendir(UPLOAD_DIR);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		MUST(entry->d_name[0] == '.');
	if (directory)
		closedir(directory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char place[] = "/tmp/ktstr-fuzz-XXXXXX";
	static int here = -1;
	struct script s = { data, size };

	if (here < 0) {
		here = open(".", O_RDONLY | O_DIRECTORY);
		MUST(here >= 0 && mkdtemp(place));
	}
	MUST(!chdir(place));
	model_id = 0;
	for (int i = 0; s.left && i < OPERATIONS_MAX; i++)
		operate(&s);
	forget();
	must_be_empty();
	rmdir(UPLOAD_DIR);
	MUST(!fchdir(here));
	return 0;
}
