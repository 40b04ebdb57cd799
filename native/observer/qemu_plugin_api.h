/* SPDX-License-Identifier: MIT */
/*
 * What the observer uses of QEMU's plugin interface (docs: "QEMU TCG Plugins"), declared by ourselves: no distribution
 * packages the header. QEMU checks `qemu_plugin_version` when it loads a plugin, and the observer checks it again.
 */
#ifndef QEMU_PLUGIN_API_H
#define QEMU_PLUGIN_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QEMU_PLUGIN_API_VERSION 4 // QEMU 9.2 and newer: values of stores, registers

#define QEMU_PLUGIN_CB_R_REGS 1
#define QEMU_PLUGIN_MEM_W 2

struct qemu_plugin_tb;
struct qemu_plugin_insn;

struct qemu_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus, max_vcpus;
	} system;
};

struct qemu_register {
	void *handle;
	const char *name;
	const char *feature;
};

struct qemu_value {
	int type;
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
		struct {
			uint64_t low, high;
		} u128;
	} data;
};

// GLib's public structures; the library is in QEMU's process.
struct g_array {
	char *data;
	unsigned int len;
};
struct g_byte_array {
	uint8_t *data;
	unsigned int len;
};

extern struct g_byte_array *g_byte_array_new(void);
extern struct g_byte_array *g_byte_array_set_size(struct g_byte_array *array, unsigned int length);

extern void qemu_plugin_register_vcpu_init_cb(uint64_t id, void (*cb)(uint64_t id, unsigned int vcpu));
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
						  void (*cb)(uint64_t id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
						 void (*cb)(unsigned int vcpu, void *data), int flags,
						 void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
					     void (*cb)(unsigned int vcpu, uint32_t info, uint64_t vaddr,
							void *data),
					     int flags, int rw, void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern unsigned int qemu_plugin_mem_size_shift(uint32_t info);
extern struct qemu_value qemu_plugin_mem_get_value(uint32_t info);
extern struct g_array *qemu_plugin_get_registers(void);
extern int qemu_plugin_read_register(void *handle, struct g_byte_array *into);

#endif
