// SPDX-License-Identifier: MIT
#ifndef KTSTR_KCONFIG_H
#define KTSTR_KCONFIG_H

// Make the kernel's configuration readable as /boot/config-RELEASE. Call this once, before a scheduler is loaded.
void kconfig_place(void);

#endif
