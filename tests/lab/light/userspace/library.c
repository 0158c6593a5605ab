/* SPDX-License-Identifier: GPL-2.0 */
/* A user-space stub of the stand-in driver: a library that knows its version. */
const char *nv_light_version(void);
const char *nv_light_version(void)
{
	return "@VERSION@";
}
