// SPDX-License-Identifier: MIT
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fwcfg.h"

#define MAGIC "070701"
#define LAST "TRAILER!!!"
#define HEAD_BYTES 110
#define PATH_BYTES 512

struct archive {
	uint64_t left; // bytes of it that were not read yet
	char *problem;
	size_t problem_bytes;
};

struct head {
	uint32_t mode, size, name_size;
};

static int take(struct archive *archive, void *to, uint32_t length)
{
	if (length > archive->left) {
		snprintf(archive->problem, archive->problem_bytes, "the archive of files is cut short");
		return -1;
	}
	archive->left -= length;
	return fwcfg_read(to, length, archive->problem, archive->problem_bytes);
}

static uint32_t field(const char *head, int index)
{
	char digits[9] = "";

	memcpy(digits, head + sizeof(MAGIC) - 1 + 8 * index, 8);
	return (uint32_t)strtoul(digits, NULL, 16);
}

static int take_padding(struct archive *archive, uint64_t of)
{
	uint8_t padding[4];
	uint32_t length = (uint32_t)(-of & 3);

	return length ? take(archive, padding, length) : 0;
}

static int take_head(struct archive *archive, struct head *head, char *path)
{
	char text[HEAD_BYTES];

	if (take(archive, text, sizeof(text)))
		return -1;
	*head = (struct head){ field(text, 1), field(text, 6), field(text, 11) };
	if (memcmp(text, MAGIC, sizeof(MAGIC) - 1) || !head->name_size || head->name_size > PATH_BYTES - 1) {
		snprintf(archive->problem, archive->problem_bytes, "the archive of files is damaged");
		return -1;
	}
	path[0] = '/';
	if (take(archive, path + 1, head->name_size) || take_padding(archive, HEAD_BYTES + head->name_size))
		return -1;
	path[head->name_size] = '\0';
	return 0;
}

// Copy the content of an entry into a file; -1 for a descriptor passes it over.
static int take_content(struct archive *archive, uint32_t size, int fd, const char *path)
{
	static uint8_t piece[FWCFG_PIECE_BYTES];

	for (uint32_t left = size; left;) {
		uint32_t length = left < sizeof(piece) ? left : (uint32_t)sizeof(piece);

		if (take(archive, piece, length))
			return -1;
		if (fd >= 0 && write(fd, piece, length) != (ssize_t)length) {
			snprintf(archive->problem, archive->problem_bytes, "%.256s: %s", path,
				 strerror(errno ? errno : ENOSPC));
			return -1;
		}
		left -= length;
	}
	return take_padding(archive, size);
}

static int take_file(struct archive *archive, const struct head *head, const char *path)
{
	int fd, failed;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, head->mode & 07777);
	if (fd < 0) {
		snprintf(archive->problem, archive->problem_bytes, "%.256s: %s", path, strerror(errno));
		return -1;
	}
	fchmod(fd, head->mode & 07777);
	failed = take_content(archive, head->size, fd, path);
	close(fd);
	return failed;
}

static int take_entries(struct archive *archive)
{
	char path[PATH_BYTES];
	struct head head;

	for (;;) {
		if (take_head(archive, &head, path))
			return -1;
		if (!strcmp(path + 1, LAST))
			return 0;
		if (S_ISREG(head.mode)) {
			if (take_file(archive, &head, path))
				return -1;
			continue;
		}
		if (S_ISDIR(head.mode))
			mkdir(path, head.mode & 07777);
		if (take_content(archive, head.size, -1, path))
			return -1;
	}
}

int unpack_files(const char *name, char *problem, size_t bytes)
{
	long size = fwcfg_open(name, problem, bytes);
	struct archive archive = { .left = size < 0 ? 0 : (uint64_t)size,
				   .problem = problem,
				   .problem_bytes = bytes };
	int failed = size < 0 ? -1 : take_entries(&archive);

	fwcfg_close();
	return failed;
}
