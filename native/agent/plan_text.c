// SPDX-License-Identifier: MIT
#include "plan_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool unescape(char *value)
{
	char *out = value;

	for (const char *in = value; *in; in++) {
		if (*in != '%') {
			*out++ = *in;
			continue;
		}
		int high = hex_digit(in[1]), low = high < 0 ? -1 : hex_digit(in[2]);

		if (low < 0 || high * 16 + low == 0)
			return false;
		*out++ = (char)(high * 16 + low);
		in += 2;
	}
	*out = '\0';
	return true;
}

bool plan_take_number(const char *value, long min, long max, long *ret)
{
	char *end;

	errno = 0;
	*ret = strtol(value, &end, 10);
	return end != value && !*end && !errno && *ret >= min && *ret <= max;
}

bool plan_take_string(char *into, size_t bytes, const char *value)
{
	size_t length = strlen(value);

	if (!length || length >= bytes)
		return false;
	memcpy(into, value, length + 1);
	return true;
}

bool plan_take_cpus(cpu_set_t *cpus, const char *value)
{
	CPU_ZERO(cpus);
	while (*value) {
		char *end;
		unsigned long first = strtoul(value, &end, 10), last = first;

		if (end == value)
			return false;
		if (*end == '-') {
			value = end + 1;
			last = strtoul(value, &end, 10);
			if (end == value)
				return false;
		}
		if (last < first || last >= CPU_SETSIZE || (*end && *end != ','))
			return false;
		for (; first <= last; first++)
			CPU_SET(first, cpus);
		value = *end ? end + 1 : end;
	}
	return CPU_COUNT(cpus) > 0;
}

const char *plan_take_pairs(char *rest, plan_take_fn take, void *into)
{
	char *pair;

	while ((pair = strsep(&rest, " "))) {
		char *value = strchr(pair, '=');
		const char *wrong;

		if (!value)
			return "not a key=value pair";
		*value++ = '\0';
		if (!unescape(value))
			return "bad %XX";
		wrong = take(into, pair, value);
		if (wrong)
			return wrong;
	}
	return NULL;
}
