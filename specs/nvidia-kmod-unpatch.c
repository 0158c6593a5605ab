/*
 * nvidia-kmod-unpatch PATCH OBJECT|- OUT: restore what "zstd --patch-from=OBJECT" packed.
 *
 * EL8 carries zstd 1.4.4, whose program has no --patch-from yet; its library, which rpm itself needs, can undo one:
 * the object is a dictionary of raw content. OUT must not exist; it is whole and synced when the program ends well.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define MAX_OUT (1ULL << 32) /* a damaged header must not make us fill the disk */

struct bytes {
    void *data;
    size_t size;
};

static int complain(const char *path, const char *what)
{
    fprintf(stderr, "nvidia-kmod-unpatch: %s: %s\n", path, what);
    return 1;
}

static int map(const char *path, struct bytes *out)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) != 0)
        return complain(path, strerror(errno));
    if (!S_ISREG(status.st_mode) || status.st_size == 0)
        return complain(path, "empty, or not a file");
    out->size = (size_t)status.st_size;
    out->data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    return out->data == MAP_FAILED ? complain(path, strerror(errno)) : 0;
}

static int restore(const struct bytes *patch, const struct bytes *object, struct bytes *plain, const char *path)
{
    unsigned long long size = ZSTD_getFrameContentSize(patch->data, patch->size);
    size_t done;
    ZSTD_DCtx *context;

    if (size == 0 || size >= MAX_OUT) /* unknown and error are the two greatest values */
        return complain(path, "not a patch");
    plain->size = (size_t)size;
    plain->data = mmap(NULL, plain->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    context = ZSTD_createDCtx();
    if (plain->data == MAP_FAILED || context == NULL)
        return complain(path, "not enough memory");
    done = ZSTD_decompress_usingDict(context, plain->data, plain->size, patch->data, patch->size, object->data,
                                     object->size);
    if (ZSTD_isError(done))
        return complain(path, ZSTD_getErrorName(done));
    return done == plain->size ? 0 : complain(path, "shorter than it says");
}

static int store(const char *path, const struct bytes *plain)
{
    const char *next = plain->data;
    size_t left = plain->size;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0)
        return complain(path, strerror(errno));
    while (left > 0) {
        ssize_t written = write(fd, next, left);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return complain(path, strerror(errno));
        next += written;
        left -= (size_t)written;
    }
    if (fsync(fd) != 0 || close(fd) != 0)
        return complain(path, strerror(errno));
    return 0;
}

int main(int argc, char **argv)
{
    struct bytes patch, plain, object = {NULL, 0};

    if (argc != 4)
        return complain("usage", "PATCH OBJECT|- OUT");
    if (map(argv[1], &patch) || (strcmp(argv[2], "-") != 0 && map(argv[2], &object)))
        return 1;
    return restore(&patch, &object, &plain, argv[1]) || store(argv[3], &plain);
}
