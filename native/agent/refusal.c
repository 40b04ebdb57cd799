// SPDX-License-Identifier: MIT
/*
 * Who refused a scheduler, and why, found in what its loader prints.
 *
 * A scheduler can be refused by four parties, and errno is the same for most: libbpf (nothing was given to the
 * kernel yet), the verifier (one program of it is not safe), the kernel (the programs are fine, the scheduler is
 * not), and the scheduler's own program. libbpf prints which; that text has been stable for years, and it is the
 * same for the loader here and for every scheduler that is built on libbpf, in C or in Rust. So it is read as it
 * passes by, and the first party that spoke wins: what comes after is a consequence.
 *
 * Of the verifier's log the last line before the statistics is the reason, and the last line that begins with
 * "; " before it is the line of source it is about.
 */
#include "refusal.h"

#include <stdio.h>
#include <string.h>

#define LINE_BYTES REFUSAL_LINE_BYTES

// Copy text, cut to fit.
static void keep(char *to, size_t bytes, const char *text)
{
	size_t length = strnlen(text, bytes - 1);

	memcpy(to, text, length);
	to[length] = '\0';
}

// The text between the first pair of single quotes, cut to fit.
static const char *quoted(const char *line, char *name, size_t bytes)
{
	const char *begin = strchr(line, '\'');
	const char *end = begin ? strchr(begin + 1, '\'') : NULL;

	snprintf(name, bytes, "%.*s", end ? (int)(end - begin - 1) : 0, end ? begin + 1 : "");
	return name;
}

static void say(struct refusal *seen, enum refuser who, const char *what, const char *detail)
{
	if (seen->reason[0])
		return;
	seen->who = who;
	snprintf(seen->reason, sizeof(seen->reason), "refused by %s: %.300s%.300s",
		 who == REFUSER_LIBBPF ? "libbpf" : "the verifier", what, detail);
}

// What libbpf complains about, in the order in which it does. `what` ends where the name that libbpf quotes goes.
static const struct {
	const char *has, *also, *what;
} complaints[] = {
	{ "failed to open system Kconfig", "",
	  "it asks for CONFIG_… of the kernel, and the guest has no configuration" },
	{ "extern 'CONFIG_", "(strong): not resolved", "this kernel's configuration does not set " },
	{ "extern '", "(strong): not resolved", "the guest has no " },
	{ "extern (func ksym)", "not found in kernel", "this kernel has no kfunc " },
	{ "extern (func ksym)", "incompatible",
	  "it declares other arguments than the kernel's BTF, which is wrong itself when pahole before 1.26 "
	  "made it (see ktstr-tui doctor), for the kfunc " },
	{ "extern (var ksym)", "not found in kernel", "this kernel has no variable " },
	{ "extern (ksym)", "not found", "this kernel has no symbol " },
	{ "kfunc '", "wasn't resolved", "this kernel has no kfunc " },
	{ "struct_ops init_kern", "Cannot find member", "" },
	{ "struct_ops init_kern", "is not found in kernel BTF", "" },
	{ "struct_ops init_kern", "Unmatched member type", "" },
	{ "struct_ops init_kern", "Error in size", "" },
	{ "failed to resolve CO-RE relocation", "", "a member or type that this kernel lacks: " },
	{ "libbpf: elf: ", "", "" },
	{ "failed to create", "map '", "the kernel did not create the map " },
};

static void read_libbpf(struct refusal *seen, const char *line)
{
	char name[128];

	for (size_t i = 0; i < sizeof(complaints) / sizeof(complaints[0]); i++) {
		if (!strstr(line, complaints[i].has) || !strstr(line, complaints[i].also))
			continue;
		quoted(line, name, sizeof(name));
		if (complaints[i].what[0])
			say(seen, REFUSER_LIBBPF, complaints[i].what, name);
		else
			say(seen, REFUSER_LIBBPF, line + strlen("libbpf: "), "");
		return;
	}
}

static void end_of_log(struct refusal *seen)
{
	char detail[LINE_BYTES];

	seen->in_log = false;
	snprintf(detail, sizeof(detail), "%.200s", seen->source);
	if (seen->verifier[0] && detail[0]) {
		char what[LINE_BYTES];

		snprintf(what, sizeof(what), "%.240s, at: ", seen->verifier);
		say(seen, REFUSER_VERIFIER, what, detail);
	} else if (seen->verifier[0]) {
		say(seen, REFUSER_VERIFIER, seen->verifier, "");
	}
}

static void read_log_line(struct refusal *seen, const char *line)
{
	if (strstr(line, "END PROG LOAD LOG"))
		end_of_log(seen);
	else if (!strncmp(line, "; ", 2))
		keep(seen->source, sizeof(seen->source), line + 2 + strspn(line + 2, " @"));
	else if (strncmp(line, "processed ", 10) && strncmp(line, "verification time", 17) &&
		 strncmp(line, "stack depth", 11))
		keep(seen->verifier, sizeof(seen->verifier), line);
}

static void read_line(struct refusal *seen, const char *line)
{
	if (!line[0])
		return;
	keep(seen->last, sizeof(seen->last), line);
	if (strstr(line, "BEGIN PROG LOAD LOG")) {
		seen->in_log = true;
		seen->source[0] = seen->verifier[0] = '\0';
	} else if (seen->in_log) {
		read_log_line(seen, line);
	} else if (!strncmp(line, "libbpf: ", 8)) {
		read_libbpf(seen, line);
	}
}

void refusal_reset(struct refusal *seen)
{
	memset(seen, 0, sizeof(*seen));
}

void refusal_read(struct refusal *seen, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] == '\n') {
			seen->line[seen->length] = '\0';
			seen->length = 0;
			read_line(seen, seen->line);
		} else if (seen->length + 1 < sizeof(seen->line)) {
			seen->line[seen->length++] = text[i];
		}
	}
}

bool refusal_reason(struct refusal *seen, char *reason, size_t bytes)
{
	if (seen->in_log) // the log was cut off
		end_of_log(seen);
	snprintf(reason, bytes, "%s", seen->reason);
	return seen->reason[0] != '\0';
}

const char *refusal_last_line(struct refusal *seen)
{
	if (seen->length) { // printed without an end of line
		seen->line[seen->length] = '\0';
		seen->length = 0;
		read_line(seen, seen->line);
	}
	return seen->last;
}
