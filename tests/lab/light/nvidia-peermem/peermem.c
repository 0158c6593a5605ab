// SPDX-License-Identifier: GPL-2.0
#include "nv-light.h"

static int __init peermem_init(void)
{
	pr_info("nvidia-peermem: stand-in %s on %s\n", NV_VERSION_STRING, nvidia_light_get_ops()->version);
	return 0;
}

static void __exit peermem_exit(void)
{
}

module_init(peermem_init);
module_exit(peermem_exit);
NV_LIGHT_MODULE("nvidia-peermem");
