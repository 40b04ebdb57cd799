// SPDX-License-Identifier: MIT
#include "ktstr_block.h"

#include <stdbool.h>
#include <string.h>

void ktt_merge(const struct ktt_event *const *runs, const size_t *lengths, size_t run_count, size_t *at,
	       struct ktt_event *merged)
{
	memset(at, 0, run_count * sizeof(*at));
	for (;;) {
		const struct ktt_event *first = NULL;
		size_t from = 0;

		for (size_t run = 0; run < run_count; run++) {
			const struct ktt_event *next = &runs[run][at[run]];

			if (at[run] < lengths[run] && (!first || next->time_ns < first->time_ns)) {
				first = next;
				from = run;
			}
		}
		if (!first)
			return;
		*merged++ = *first;
		at[from]++;
	}
}

size_t ktt_first(const struct ktt_event *events, size_t count, uint32_t at)
{
	size_t low = 0;

	for (size_t high = count; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (events[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t ktt_until(const struct ktt_event *events, size_t count, uint64_t until_ns)
{
	while (count && events[count - 1].time_ns > until_ns)
		count--;
	return count;
}

size_t ktt_newest(const struct ktt_event *events, size_t count, uint32_t kinds, uint8_t *seen, uint32_t pids,
		  uint32_t *found)
{
	size_t number = 0;

	for (size_t k = count; k--;) {
		uint64_t pid = events[k].values[0];

		if (pid >= pids || events[k].missing || events[k].kind > 31 ||
		    !(kinds >> events[k].kind & 1) || seen[pid / 8] & 1u << pid % 8)
			continue;
		seen[pid / 8] |= 1u << pid % 8;
		found[number++] = k;
	}
	return number;
}

static bool fits(const struct ktt_event *event)
{
	return event->kind && !event->missing;
}

size_t ktt_packable(const struct ktt_event *events, size_t count)
{
	size_t found = 0;

	for (size_t k = 0; k < count; k++)
		found += fits(&events[k]);
	return found;
}

static void put(uint8_t *column, size_t at, uint64_t value, size_t size)
{
	for (size_t byte = 0; byte < size; byte++)
		column[at * size + byte] = value >> (8 * byte);
}

void ktt_pack(const struct ktt_event *events, size_t count, size_t packable, uint64_t base_ns, uint8_t *out)
{
	uint8_t *low = out, *high = low + 4 * packable, *kind = high + 4 * packable, *cpu = kind + packable;
	uint8_t *pid = cpu + 2 * packable, *other = pid + 4 * packable, *number = other + 4 * packable;
	uint8_t *to = number + 8 * packable, *prio = to + 2 * packable;
	size_t at = 0;

	for (size_t k = 0; k < count && at < packable; k++) {
		const struct ktt_event *event = &events[k];
		const int64_t *values = event->values;
		uint64_t passed = event->time_ns - base_ns;

		if (!fits(event))
			continue;
		base_ns = event->time_ns;
		put(low, at, passed, 4);
		put(high, at, passed >> 32, 4);
		put(kind, at, event->kind, 1);
		put(cpu, at, event->cpu, 2);
		put(pid, at, values[0], 4);
		put(other, at, event->kind == KTT_SWITCH ? values[1] : values[6], 4);
		put(number, at, values[2], 8);
		put(to, at, values[3], 2);
		put(prio, at, values[5], 2);
		at++;
	}
}
