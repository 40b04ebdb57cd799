// SPDX-License-Identifier: MIT
#include <string.h>

#include "page.h"
#include "qemu_plugin_api.h"
#include "registers.h"

#define RIP 16

static const char *const register_names[OBSERVER_REGISTERS] = {
	"rax", "rbx", "rcx",	 "rdx",	    "rsi",	 "rdi", "rbp",	  "rsp", "r8",	"r9",  "r10",
	"r11", "r12", "r13",	 "r14",	    "r15",	 "rip", "eflags", "cs",	 "ss",	"ds",  "es",
	"fs",  "gs",  "fs_base", "gs_base", "k_gs_base", "cr0", "cr2",	  "cr3", "cr4", "cr8", "efer",
};

static void *handles[OBSERVER_REGISTERS];
static struct g_byte_array *bytes;

void registers_find(void)
{
	struct g_array *found = qemu_plugin_get_registers();
	const struct qemu_register *registers = (const struct qemu_register *)found->data;

	bytes = g_byte_array_new();
	for (unsigned int i = 0; i < found->len; i++) {
		for (int k = 0; k < OBSERVER_REGISTERS; k++) {
			if (!handles[k] && !strcmp(registers[i].name, register_names[k]))
				handles[k] = registers[i].handle;
		}
	}
}

uint64_t registers_read(uint64_t next_ip, uint64_t *into)
{
	uint64_t known = 0;

	for (int i = 0; i < OBSERVER_REGISTERS; i++) {
		uint64_t value = 0;

		if (!handles[i])
			continue;
		g_byte_array_set_size(bytes, 0);
		if (qemu_plugin_read_register(handles[i], bytes) <= 0)
			continue;
		memcpy(&value, bytes->data, bytes->len < sizeof(value) ? bytes->len : sizeof(value));
		into[i] = value;
		known |= 1ull << i;
	}
	// Inside a block of translated code the emulator does not keep the instruction pointer.
	into[RIP] = next_ip;
	return known | 1ull << RIP;
}
