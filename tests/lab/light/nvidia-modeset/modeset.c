// SPDX-License-Identifier: GPL-2.0
#include "nv-light.h"

extern unsigned long nv_modeset_blob_checksum(unsigned long seed);

int nvidia_light_modeset_ready(void)
{
	return nvidia_light_get_ops()->version != NULL;
}
EXPORT_SYMBOL(nvidia_light_modeset_ready);

static int __init modeset_init(void)
{
	pr_info("nvidia-modeset: stand-in %s (%lx)\n", NV_VERSION_STRING, nv_modeset_blob_checksum(1));
	return 0;
}

static void __exit modeset_exit(void)
{
}

module_init(modeset_init);
module_exit(modeset_exit);
NV_LIGHT_MODULE("nvidia-modeset");
