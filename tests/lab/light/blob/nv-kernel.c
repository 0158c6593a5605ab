// SPDX-License-Identifier: GPL-2.0
/* Kernel-independent part: compiled once a driver, no kernel header is read. */
const char nv_blob_version[] = "@VERSION@ @FLAVOR@";

unsigned long nv_blob_checksum(unsigned long seed);
unsigned long nv_blob_checksum(unsigned long seed)
{
	unsigned long sum = seed;

	for (const char *c = nv_blob_version; *c; c++)
		sum = sum * 31 + (unsigned char)*c;
	return sum;
}
