// SPDX-License-Identifier: GPL-2.0
#include "nv-light.h"

static int __init uvm_init(void)
{
	pr_info("nvidia-uvm: stand-in %s on %s\n", NV_VERSION_STRING, nvidia_light_get_ops()->version);
	return 0;
}

static void __exit uvm_exit(void)
{
}

module_init(uvm_init);
module_exit(uvm_exit);
NV_LIGHT_MODULE("nvidia-uvm");
