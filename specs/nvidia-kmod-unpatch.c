/*
 * nvidia-kmod-unpatch PATCH OBJECT|- OUT: restore what "zstd --patch-from=OBJECT" packed.
 *
 * EL8 carries zstd 1.4.4, whose program has no --patch-from yet; its library, which rpm itself needs, can undo one:
 * the object is a dictionary of raw content. OUT must not exist; it is whole and synced when the program ends well, and
 * not there otherwise. Exit code 1: the patch or the object is damaged; 2: this host cannot (disk, memory, usage).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { DAMAGED = 1, HOST = 2 };

#define MAX_OUT (1ULL << 32) /* a damaged header must not make us fill the disk */

struct bytes {
    void *data;
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

static int restore(const struct bytes *patch, const struct bytes *object, struct bytes *plain, const char *path)
{
    unsigned long long size = ZSTD_getFrameContentSize(patch->data, patch->size);
    size_t done;
    ZSTD_DCtx *context;

    if (size == 0 || size >= MAX_OUT) /* unknown and error are the two greatest values */
        return complain(DAMAGED, path, "not a patch");
    plain->size = (size_t)size;
    plain->data = mmap(NULL, plain->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    context = ZSTD_createDCtx();
    if (plain->data == MAP_FAILED || context == NULL)
        return complain(HOST, path, "not enough memory");
    done = ZSTD_decompress_usingDict(context, plain->data, plain->size, patch->data, patch->size, object->data,
                                     object->size);
    ZSTD_freeDCtx(context);
    if (ZSTD_isError(done))
        return complain(DAMAGED, path, ZSTD_getErrorName(done));
    return done == plain->size ? 0 : complain(DAMAGED, path, "shorter than it says");
}

static int fill(int fd, const struct bytes *plain)
{
    const char *next = plain->data;
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
        code = restore(&patch, &object, &plain, argv[1]);
    return code != 0 ? code : store(argv[3], &plain);
}
