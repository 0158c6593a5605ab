// SPDX-License-Identifier: GPL-2.0
#include "nv-light.h"
#if IS_ENABLED(CONFIG_DRM)
#include <drm/drm_fourcc.h>
#endif

static int __init nv_drm_init(void)
{
	int known = 0;

#if IS_ENABLED(CONFIG_DRM)
	known = drm_format_info(DRM_FORMAT_XRGB8888) != NULL;
#endif
	pr_info("nvidia-drm: stand-in %s, modeset %d, format %d\n", NV_VERSION_STRING, nvidia_light_modeset_ready(), known);
	return 0;
}

static void __exit nv_drm_exit(void)
{
}

module_init(nv_drm_init);
module_exit(nv_drm_exit);
NV_LIGHT_MODULE("nvidia-drm");
