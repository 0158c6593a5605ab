/* SPDX-License-Identifier: GPL-2.0 */
#ifndef NV_LIGHT_H
#define NV_LIGHT_H
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>

#define NV_VERSION_STRING "@VERSION@"
#define NV_LICENSE "@LICENSE@"

struct nvidia_light_ops {
	const char *version;
	unsigned long checksum;
};

const struct nvidia_light_ops *nvidia_light_get_ops(void);
int nvidia_light_modeset_ready(void);

#define NV_LIGHT_MODULE(about)          \
	MODULE_LICENSE(NV_LICENSE);     \
	MODULE_VERSION(NV_VERSION_STRING); \
	MODULE_DESCRIPTION("repobuild stand-in: " about)
#endif
