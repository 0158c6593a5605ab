// SPDX-License-Identifier: GPL-2.0
static const char version[] = "@VERSION@ @FLAVOR@";

unsigned long nv_modeset_blob_checksum(unsigned long seed);
unsigned long nv_modeset_blob_checksum(unsigned long seed)
{
	for (const char *c = version; *c; c++)
		seed = seed * 33 + (unsigned char)*c;
	return seed;
}
