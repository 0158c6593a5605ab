/*
 * nvidia-kmod-unpatch PATCH OBJECT|- OUT: restore a kernel module that was packed with "zstd --patch-from=OBJECT".
 *
 * EL8 carries zstd 1.4.4, whose program has no --patch-from yet; its library, which rpm itself needs, can undo one:
 * the object is a dictionary of raw content. Relocation tables are packed in columns, which makes patches of modules
 * that objtool worked on half as big: a frame that zstd skips says so, and they are put back here. OUT must not exist; it is whole and synced when the program ends well, and
 * not there otherwise. Exit code 1: the patch or the object is damaged; 2: this host cannot (disk, memory, usage).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { DAMAGED = 1, HOST = 2 };

#define MAX_OUT (1ULL << 32) /* a damaged header must not make us fill the disk */

/* A skippable frame of eight bytes (RFC 8878, 3.1.2). */
static const unsigned char arranged[16] = "\x5e\x2a\x4d\x18\x08\0\0\0RELA v1";

struct bytes {
    unsigned char *data;
    size_t size;
};

static int complain(int code, const char *path, const char *what)
{
    fprintf(stderr, "nvidia-kmod-unpatch: %s: %s\n", path, what);
    return code;
}

static int map(const char *path, struct bytes *out)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) != 0)
        return complain(DAMAGED, path, strerror(errno));
    if (!S_ISREG(status.st_mode) || status.st_size == 0)
        return complain(DAMAGED, path, "empty, or not a file");
    out->size = (size_t)status.st_size;
    out->data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    return out->data == MAP_FAILED ? complain(HOST, path, strerror(errno)) : 0;
}

static int is_arranged(const struct bytes *patch)
{
    return patch->size > sizeof arranged && memcmp(patch->data, arranged, sizeof arranged) == 0;
}

static int unpack(const struct bytes *patch, const struct bytes *object, struct bytes *plain, const char *path)
{
    size_t skip = is_arranged(patch) ? sizeof arranged : 0;
    unsigned long long size = ZSTD_getFrameContentSize(patch->data + skip, patch->size - skip);
    size_t done;
    ZSTD_DCtx *context;

    if (size == 0 || size >= MAX_OUT) /* unknown and error are the two greatest values */
        return complain(DAMAGED, path, "not a patch");
    plain->size = (size_t)size;
    plain->data = mmap(NULL, plain->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    context = ZSTD_createDCtx();
    if (plain->data == MAP_FAILED || context == NULL)
        return complain(HOST, path, "not enough memory");
    done = ZSTD_decompress_usingDict(context, plain->data, plain->size, patch->data + skip,
                                     patch->size - skip, object->data, object->size);
    ZSTD_freeDCtx(context);
    if (ZSTD_isError(done))
        return complain(DAMAGED, path, ZSTD_getErrorName(done));
    return done == plain->size ? 0 : complain(DAMAGED, path, "shorter than it says");
}

/* Of all rows, first byte 0, then byte 1 and so on; of each 64-bit word what it grew by since the row before. */
static void restore_rows(unsigned char *table, const unsigned char *columns, size_t rows)
{
    uint64_t words[3] = {0, 0, 0};

    for (size_t row = 0; row < rows; row++) {
        for (size_t word = 0; word < 3; word++) {
            uint64_t grown = 0;

            for (size_t byte = 0; byte < 8; byte++)
                grown |= (uint64_t)columns[(8 * word + byte) * rows + row] << (8 * byte);
            words[word] += grown;
        }
        memcpy(table + row * sizeof words, words, sizeof words); /* little endian, as the module: it is for this host */
    }
}

static int restore_tables(struct bytes *plain, const char *path)
{
    Elf64_Ehdr header;

    if (plain->size < sizeof header)
        return complain(DAMAGED, path, "not a module");
    memcpy(&header, plain->data, sizeof header);
    if (header.e_shoff > plain->size || (plain->size - header.e_shoff) / sizeof(Elf64_Shdr) < header.e_shnum)
        return complain(DAMAGED, path, "shorter than its section headers say");
    for (size_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        unsigned char *columns;

        memcpy(&section, plain->data + header.e_shoff + i * sizeof section, sizeof section);
        if (section.sh_type != SHT_RELA || section.sh_size == 0)
            continue;
        if (section.sh_offset > plain->size || section.sh_size > plain->size - section.sh_offset ||
            section.sh_size % sizeof(Elf64_Rela) != 0)
            return complain(DAMAGED, path, "shorter than its relocations say");
        columns = malloc(section.sh_size);
        if (columns == NULL)
            return complain(HOST, path, "not enough memory");
        memcpy(columns, plain->data + section.sh_offset, section.sh_size);
        restore_rows(plain->data + section.sh_offset, columns, section.sh_size / sizeof(Elf64_Rela));
        free(columns);
    }
    return 0;
}

static int fill(int fd, const struct bytes *plain)
{
    const unsigned char *next = plain->data;
    size_t left = plain->size;

    while (left > 0) {
        ssize_t written = write(fd, next, left);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        next += written;
        left -= (size_t)written;
    }
    return fsync(fd);
}

static int store(const char *path, const struct bytes *plain)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0)
        return complain(HOST, path, strerror(errno));
    if (fill(fd, plain) != 0 || close(fd) != 0) {
        complain(HOST, path, strerror(errno));
        unlink(path); /* ours: O_EXCL */
        return HOST;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct bytes patch, plain, object = {NULL, 0};
    int code;

    if (argc != 4)
        return complain(HOST, "usage", "PATCH OBJECT|- OUT");
    code = map(argv[1], &patch);
    if (code == 0 && strcmp(argv[2], "-") != 0)
        code = map(argv[2], &object);
    if (code == 0)
        code = unpack(&patch, &object, &plain, argv[1]);
    if (code == 0 && is_arranged(&patch))
        code = restore_tables(&plain, argv[1]);
    return code != 0 ? code : store(argv[3], &plain);
}
