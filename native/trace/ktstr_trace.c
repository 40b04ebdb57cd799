// SPDX-License-Identifier: MIT
#include "ktstr_trace.h"

#include <string.h>

enum { PADDING = 29, TIME_EXTEND = 30, TIME_STAMP = 31 };

#define DELTA_BITS 27
#define STAMP_BITS 59
#define UPPER_BITS (~(uint64_t)0 << STAMP_BITS)

static uint32_t word(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static int64_t number(const uint8_t *at, const struct ktt_member *member)
{
	uint64_t value = 0;
	unsigned int unused = 64 - 8 * member->size;

	memcpy(&value, at, member->size);
	// A shift up and back down extends the sign.
	return member->is_signed ? (int64_t)(value << unused) >> unused : (int64_t)value;
}

static const struct ktt_plan *find_plan(const struct ktt_plan *plans, size_t count, uint16_t type)
{
	for (size_t k = 0; k < count; k++)
		if (plans[k].type == type)
			return &plans[k];
	return NULL;
}

static void take(struct ktt_event *event, const uint8_t *body, const struct ktt_plan *plan)
{
	event->missing = 0;
	event->kind = plan->kind;
	for (int k = 0; k < KTT_VALUES; k++) {
		const struct ktt_member *member = &plan->members[k];

		event->values[k] = 0;
		if (!member->size)
			continue;
		if (member->size > 8 || member->offset + member->size > event->length)
			event->missing |= 1u << k;
		else
			event->values[k] = number(body + member->offset, member);
	}
}

// The kernel keeps 59 bits of an absolute time; the others are those of the time before, unless they have just changed.
static uint64_t absolute(uint64_t stamp, uint64_t before)
{
	uint64_t time = stamp | (before & UPPER_BITS);

	return (before & UPPER_BITS) && time < before ? time + ((uint64_t)1 << STAMP_BITS) : time;
}

size_t ktt_decode(const uint8_t *data, size_t size, uint64_t time_ns, uint16_t cpu,
		  const struct ktt_plan *plans, size_t plan_count, struct ktt_event *events, size_t capacity,
		  struct ktt_counts *counts)
{
	size_t at = 0, found = 0;

	while (at + 4 <= size && found < capacity) {
		uint32_t head = word(data + at), type_len = head & 31;
		uint64_t delta = head >> 5;
		size_t body = at + 4, end = body + 4 * (size_t)type_len;

		if (type_len == PADDING && !delta)
			return found;
		if (type_len == 0 || type_len >= PADDING) {
			if (body + 4 > size)
				break;
			if (type_len >= TIME_EXTEND) {
				delta |= (uint64_t)word(data + body) << DELTA_BITS;
				time_ns =
					type_len == TIME_EXTEND ? time_ns + delta : absolute(delta, time_ns);
				at = body + 4;
				continue;
			}
			// Rounded up as the writer does; a length of nothing would never end.
			end = body + (((size_t)word(data + body) + 3) & ~(size_t)3);
			body += type_len == 0 ? 4 : 0;
			if (end <= body)
				break;
		}
		if (end > size)
			break;
		time_ns += delta;
		at = end;
		if (type_len == PADDING) {
			// What fills a page up to its end looks like a discarded event too.
			counts->discarded += end < size;
			continue;
		}

		struct ktt_event *event = &events[found++];
		uint16_t type;

		memcpy(&type, data + body, sizeof(type));
		*event = (struct ktt_event){
			.time_ns = time_ns, .at = body, .length = end - body, .type = type, .cpu = cpu
		};
		const struct ktt_plan *plan = find_plan(plans, plan_count, type);

		counts->events++;
		if (plan)
			take(event, data + body, plan);
		else
			counts->unplanned++;
	}
	if (found < capacity && at < size)
		counts->damaged += size - at;
	return found;
}
