// SPDX-License-Identifier: MIT
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TRY_AGAIN_NS 100000000ull

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const uint8_t *digest_of(const struct source *source, uint64_t page)
{
	return source->digests + page * DIGEST_BYTES;
}

static bool find_places(struct source *source)
{
	if (!source->digests) {
		source->why = "a store needs digests";
		return false;
	}
	source->places = calloc(source->nr_pages, sizeof(*source->places));
	if (!source->places) {
		source->why = "no memory for the places of its pages";
		return false;
	}
	for (uint64_t page = 0; page < source->nr_pages; page++)
		source->places[page] = store_find(&source->store, digest_of(source, page));
	return true;
}

bool source_open(struct source *source, int fd, const char *path)
{
	source->fd = fd;
	source->path = path;
	source->link = -1;
	if (source->kind == SOURCE_RAW || fd < 0)
		return true;
	return !store_open(&source->store, fd, &source->why) && find_places(source);
}

bool source_is_zeros(const struct source *source, uint64_t page)
{
	return source->digests && is_zero_digest(digest_of(source, page));
}

static enum fetched read_stored(struct source *source, uint64_t page, uint8_t *out)
{
	if (source->places[page] == NOT_STORED) {
		source->why = "the store lacks it";
		return FETCH_NEVER;
	}
	if (store_read(&source->store, source->places[page], digest_of(source, page), out, &source->why))
		return FETCHED;
	return FETCH_NEVER;
}

static enum fetched read_raw(struct source *source, uint64_t page, uint8_t *out)
{
	ssize_t got = pread(source->fd, out, KTP_PAGE_BYTES, (off_t)(page * KTP_PAGE_BYTES));

	if (got == KTP_PAGE_BYTES)
		return FETCHED;
	source->why = got < 0 ? strerror(errno) : "the file is shorter than the image";
	return FETCH_NEVER;
}

static enum fetched lose_link(struct source *source, const char *why)
{
	if (source->link >= 0)
		close(source->link);
	source->link = -1;
	source->why = why;
	source->losses++;
	source->try_again_ns = now_ns() + TRY_AGAIN_NS;
	return FETCH_LATER;
}

static bool connect_link(struct source *source)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval deadline = { .tv_sec = source->deadline_ms / 1000,
				    .tv_usec = source->deadline_ms % 1000 * 1000 };

	strncpy(address.sun_path, source->path, sizeof(address.sun_path) - 1);
	source->link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (source->link < 0)
		return false;
	setsockopt(source->link, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
	setsockopt(source->link, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
	return !connect(source->link, (struct sockaddr *)&address, sizeof(address));
}

// A sender of single bytes could make each wait as long as the deadline, so the whole has one, too.
static ssize_t receive_all(const struct source *source, void *to, size_t bytes)
{
	uint64_t until = now_ns() + (uint64_t)source->deadline_ms * 1000000u;
	size_t done = 0;

	while (done < bytes && now_ns() < until) {
		ssize_t got = recv(source->link, (char *)to + done, bytes - done, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static enum fetched ask_other(struct source *source, uint64_t page, uint8_t *out)
{
	uint64_t request[2] = { page * KTP_PAGE_BYTES, KTP_PAGE_BYTES }, echo[2];
	ssize_t got;

	if (source->link < 0 && now_ns() < source->try_again_ns)
		return FETCH_LATER;
	if (source->link < 0 && !connect_link(source))
		return lose_link(source, strerror(errno));
	if (send(source->link, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		return lose_link(source, "the connection broke");
	got = receive_all(source, echo, sizeof(echo));
	if (got != sizeof(echo))
		return lose_link(source, got ? "no answer in time" : "the connection was closed");
	if (echo[0] == request[0] && !echo[1]) {
		source->why = "the other side cannot read it";
		return FETCH_NEVER;
	}
	if (memcmp(echo, request, sizeof(echo)))
		return lose_link(source, "an answer to no question");
	if (receive_all(source, out, KTP_PAGE_BYTES) != KTP_PAGE_BYTES)
		return lose_link(source, "the connection broke in the middle of a page");
	if (source->digests && !is_page_of(out, digest_of(source, page))) {
		source->why = "what came is not what was stored";
		return FETCH_NEVER;
	}
	return FETCHED;
}

enum fetched source_fetch(struct source *source, uint64_t page, uint8_t *out)
{
	enum fetched fetched;

	source->from_here = source->kind != SOURCE_SOCKET;
	if (source_is_zeros(source, page))
		return FETCHED_ZEROS;
	// What is here and damaged the other end has whole.
	if (source->kind == SOURCE_SOCKET && source->places && read_stored(source, page, out) == FETCHED) {
		source->from_here = true;
		return FETCHED;
	}
	if (source->kind == SOURCE_STORE)
		return read_stored(source, page, out);
	fetched = source->kind == SOURCE_RAW ? read_raw(source, page, out) : ask_other(source, page, out);
	if (fetched != FETCHED || source->kind == SOURCE_SOCKET)
		return fetched;
	if (source->digests && !is_page_of(out, digest_of(source, page))) {
		source->why = "it is not what was stored";
		return FETCH_NEVER;
	}
	return !out[0] && !memcmp(out, out + 1, KTP_PAGE_BYTES - 1) ? FETCHED_ZEROS : FETCHED;
}
