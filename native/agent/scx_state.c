// SPDX-License-Identifier: MIT
#include "scx_state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

bool scx_enabled(void)
{
	char state[32];

	return read_small_file(SCX_STATE_PATH, state, sizeof(state)) > 0 && !strcmp(state, "enabled");
}

bool scx_disabled(void)
{
	char state[32];

	return read_small_file(SCX_STATE_PATH, state, sizeof(state)) <= 0 || !strcmp(state, "disabled");
}

bool scx_counts_enables(void)
{
	return !access(SCX_ENABLE_SEQ_PATH, R_OK);
}

uint64_t scx_enable_seq(void)
{
	char text[32];

	return read_small_file(SCX_ENABLE_SEQ_PATH, text, sizeof(text)) > 0 ? strtoull(text, NULL, 10) : 0;
}
