/* SPDX-License-Identifier: GPL-2.0 */
#include <dlfcn.h>
#include <stdio.h>

int main(void)
{
	void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
	const char *(*version)(void) = library ? (const char *(*)(void))dlsym(library, "nv_light_version") : 0;

	printf("stand-in nvidia-smi @VERSION@, libnvidia-ml %s\n", version ? version() : "not found");
	return version ? 0 : 9;
}
