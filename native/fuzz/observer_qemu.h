// SPDX-License-Identifier: MIT
//
// QEMU as the observer sees it, made up by a fuzz target: blocks of instructions of one byte, each of which may store.
#ifndef KTSTR_FUZZ_OBSERVER_QEMU_H
#define KTSTR_FUZZ_OBSERVER_QEMU_H

#include <string.h>

#include "../observer/page.h"
#include "../observer/qemu_plugin_api.h"
#include "script.h"

static struct script *script;
static void (*translated)(uint64_t, struct qemu_plugin_tb *), (*begun)(uint64_t, unsigned int);
static void (*executed)(unsigned int, void *), (*stored)(unsigned int, uint32_t, uint64_t, void *);
static void *executed_data, *stored_data;
static struct qemu_value value;
static uint64_t block_address, insn_address;
static size_t block_insns;

void qemu_plugin_register_vcpu_init_cb(uint64_t id, void (*cb)(uint64_t, unsigned int))
{
	(void)id;
	begun = cb;
}

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(uint64_t, struct qemu_plugin_tb *))
{
	(void)id;
	translated = cb;
}

void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned int, void *),
					  int flags, void *data)
{
	(void)tb;
	MUST(flags == QEMU_PLUGIN_CB_R_REGS);
	executed = cb;
	executed_data = data;
}

void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*cb)(unsigned int, uint32_t, uint64_t, void *), int flags, int rw,
				      void *data)
{
	(void)insn;
	MUST(flags == QEMU_PLUGIN_CB_R_REGS && rw == QEMU_PLUGIN_MEM_W);
	stored = cb;
	stored_data = data;
}

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb)
{
	(void)tb;
	return block_insns;
}

uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb)
{
	(void)tb;
	return block_address;
}

struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index)
{
	(void)tb;
	insn_address = block_address + index;
	return NULL;
}

uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn)
{
	(void)insn;
	return insn_address;
}

size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn)
{
	(void)insn;
	return 1;
}

unsigned int qemu_plugin_mem_size_shift(uint32_t info)
{
	return info;
}

struct qemu_value qemu_plugin_mem_get_value(uint32_t info)
{
	(void)info;
	return value;
}

struct g_array *qemu_plugin_get_registers(void)
{
	static struct qemu_register known[OBSERVER_REGISTERS + 1];
	static struct g_array array = { (char *)known, OBSERVER_REGISTERS + 1 };

	for (int i = 0; i < OBSERVER_REGISTERS; i++)
		known[i] = (struct qemu_register){ &known[i], register_names[i], "" };
	known[OBSERVER_REGISTERS] = (struct qemu_register){ NULL, "zmm0", "" };
	return &array;
}

struct g_byte_array *g_byte_array_new(void)
{
	static uint8_t data[16];
	static struct g_byte_array array = { data, 0 };

	return &array;
}

struct g_byte_array *g_byte_array_set_size(struct g_byte_array *array, unsigned int length)
{
	array->len = length;
	return array;
}

int qemu_plugin_read_register(void *handle, struct g_byte_array *into)
{
	(void)handle;
	into->len = 1u << take8(script) % 5;
	memset(into->data, 0x5a, into->len);
	return take8(script) % 8 ? (int)into->len : -1;
}

#endif
