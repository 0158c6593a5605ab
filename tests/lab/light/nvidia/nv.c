// SPDX-License-Identifier: GPL-2.0
/* Interface code of the stand-in: what depends on the kernel. The rest is the blob. */
#include "nv-light.h"
@BREAK@
extern unsigned long nv_blob_checksum(unsigned long seed);
extern const char nv_blob_version[];

static struct nvidia_light_ops ops;

const struct nvidia_light_ops *nvidia_light_get_ops(void)
{
	return &ops;
}
EXPORT_SYMBOL(nvidia_light_get_ops);

static int __init nvidia_init(void)
{
	ops.version = nv_blob_version;
	ops.checksum = nv_blob_checksum(535);
	pr_info("NVRM: loading stand-in kernel module %s (blob %s, %lx)\n", NV_VERSION_STRING, ops.version, ops.checksum);
@INIT@	return 0;
}

static void __exit nvidia_exit(void)
{
	pr_info("NVRM: stand-in kernel module unloaded\n");
}

module_init(nvidia_init);
module_exit(nvidia_exit);
MODULE_FIRMWARE("nvidia/" NV_VERSION_STRING "/gsp_ga10x.bin");
MODULE_FIRMWARE("nvidia/" NV_VERSION_STRING "/gsp_tu10x.bin");
NV_LIGHT_MODULE("nvidia");
