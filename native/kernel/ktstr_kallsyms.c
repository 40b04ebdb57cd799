// SPDX-License-Identifier: MIT

#include "kernel/ktstr_kallsyms.h"

#include <string.h>

#define NONE UINT32_MAX
#define TOKENS 256

struct token {
	const char *text;
	size_t length;
};

static int read_tokens(const struct ktk_packed *packed, struct token *tokens)
{
	for (size_t k = 0; k < TOKENS; k++) {
		size_t at = packed->token_index[2 * k] | packed->token_index[2 * k + 1] << 8;
		if (at >= packed->tokens_bytes)
			return -1;
		const char *text = (const char *)packed->tokens + at;
		const char *end = memchr(text, 0, packed->tokens_bytes - at);
		if (!end)
			return -1;
		tokens[k] = (struct token){ text, (size_t)(end - text) };
	}
	return 0;
}

size_t ktk_unpack(const struct ktk_packed *packed, char *text, size_t bytes, uint32_t *starts)
{
	struct token tokens[TOKENS];
	if (read_tokens(packed, tokens))
		return 0;
	const uint8_t *at = packed->names, *end = at + packed->names_bytes;
	size_t used = 0;
	for (uint32_t k = 0; k < packed->count; k++) {
		if (at == end)
			return 0;
		size_t length = *at++;
		if (length & 0x80) {
			if (at == end)
				return 0;
			length = (length & 0x7f) | (size_t)*at++ << 7;
		}
		if (length > (size_t)(end - at))
			return 0;
		if (text)
			starts[k] = (uint32_t)used;
		size_t began = used;
		for (; length; length--) {
			const struct token *token = &tokens[*at++];
			if (text && token->length < bytes - used)
				memcpy(text + used, token->text, token->length);
			else if (text)
				return 0;
			used += token->length;
		}
		// A name without a type is none.
		if (used - began < 2 || used >= UINT32_MAX || (text && used >= bytes))
			return 0;
		if (text)
			text[used] = 0;
		used++;
	}
	return used;
}

int ktk_place(const int32_t *offsets, uint32_t count, uint64_t base, int how, uint64_t *addresses)
{
	uint64_t last = 0;
	for (uint32_t k = 0; k < count; k++) {
		int64_t offset = offsets[k];
		uint64_t address;
		if (how == KTK_PLACE)
			address = base + 4 * (uint64_t)k + (uint64_t)offset;
		else if (how == KTK_PERCPU)
			address = offset >= 0 ? (uint64_t)offset : base - 1 - (uint64_t)offset;
		else
			address = base + (uint32_t)offset;
		if (address < last)
			return -1;
		addresses[k] = last = address;
	}
	return 0;
}

static uint32_t hash(const char *name, size_t length)
{
	uint32_t value = 2166136261u;
	for (size_t k = 0; k < length; k++)
		value = (value ^ (uint8_t)name[k]) * 16777619u;
	return value ^ value >> 15;
}

void ktk_hash(struct ktk_names *names)
{
	memset(names->heads, 0xff, ((size_t)names->mask + 1) * sizeof(*names->heads));
	// From the last on, so that a chain ascends.
	for (uint32_t k = names->count; k-- > 0;) {
		const char *name = names->text + names->starts[k] + 1;
		uint32_t *head = &names->heads[hash(name, strlen(name)) & names->mask];
		names->next[k] = *head;
		*head = k;
	}
}

int64_t ktk_find(const struct ktk_names *names, const char *name, size_t length, int64_t after)
{
	uint32_t k = after < 0 ? names->heads[hash(name, length) & names->mask] : names->next[after];
	for (; k != NONE; k = names->next[k]) {
		const char *here = names->text + names->starts[k] + 1;
		if (!strncmp(here, name, length) && !here[length])
			return k;
	}
	return -1;
}
