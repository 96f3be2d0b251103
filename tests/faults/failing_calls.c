/* Preloaded into a process: its n-th open, creation, read, write, fsync or rename of files under some folders fails, or kills it.
 *
 * arm() says which. Without it, everything passes through. Calls are counted whether or not they are to fail, so that a
 * first run tells how many there are. Opened files are followed by their descriptors; HDF5 and safetensors, which open
 * files without Python, are met too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, CREATE, READ, WRITE, FSYNC, RENAME, KINDS };
enum { KILL = -1 };

static char folder[PATH_MAX];
static int failing = -1, error_number;
static long failing_call;
static long counts[KINDS];
static char followed[1 << 16];

void arm(const char *where, int kind, long nth, int error) {
    strncpy(folder, where, sizeof folder - 1);
    failing = kind, failing_call = nth, error_number = error;
    memset(counts, 0, sizeof counts);
}

long calls(int kind) { return counts[kind]; }

static int inside(const char *path) {
    if (!folder[0] || !path) return 0;
    char absolute[2 * PATH_MAX];
    if (path[0] == '/') {
        snprintf(absolute, sizeof absolute, "%s", path);
    } else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(absolute, sizeof absolute, "%s/%s", here, path);
    }
    return !strncmp(absolute, folder, strlen(folder));
}

static int fails(int kind) {
    long nth = __atomic_add_fetch(&counts[kind], 1, __ATOMIC_SEQ_CST);
    if (kind != failing || nth != failing_call) return 0;
    if (error_number == KILL) kill(getpid(), SIGKILL);
    errno = error_number;
    return 1;
}

static int follow(int descriptor, int yes) {
    if (descriptor >= 0 && descriptor < (int)sizeof followed) followed[descriptor] = (char)yes;
    return descriptor;
}

static int is_followed(int descriptor) {
    return folder[0] && descriptor >= 0 && descriptor < (int)sizeof followed && followed[descriptor];
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A full disk prevents only the opening of a new file, so these are counted by themselves too. */
static int opening_fails(const char *path, int flags) {
    if (!inside(path)) return 0;
    int new = flags & O_CREAT && fails(CREATE);
    return fails(OPEN) || new;
}

#define OPENING(name, path, flags, ...)          \
    if (opening_fails(path, flags)) return -1;   \
    return follow(REAL(name)(__VA_ARGS__), inside(path))
#define MODE                                       \
    mode_t mode = 0;                               \
    if (flags & O_CREAT) {                         \
        va_list rest;                              \
        va_start(rest, flags);                     \
        mode = (mode_t)va_arg(rest, int);          \
        va_end(rest);                              \
    }

int open(const char *path, int flags, ...) { MODE OPENING(open, path, flags, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE OPENING(open64, path, flags, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE OPENING(openat, path, flags, at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE OPENING(openat64, path, flags, at, path, flags, mode); }
int close(int descriptor) { return follow(descriptor, 0), REAL(close)(descriptor); }

/* The disk fills up in the middle of a write: half of it is there before the error comes. */
ssize_t write(int descriptor, const void *data, size_t size) {
    if (is_followed(descriptor) && fails(WRITE)) {
        int error = errno;
        REAL(write)(descriptor, data, size / 2);
        return errno = error, -1;
    }
    return REAL(write)(descriptor, data, size);
}
#define ON_DESCRIPTOR(kind, result, name, parameters, ...)   \
    result name parameters {                                 \
        if (is_followed(descriptor) && fails(kind)) return -1; \
        return REAL(name)(__VA_ARGS__);                      \
    }
ON_DESCRIPTOR(WRITE, ssize_t, pwrite, (int descriptor, const void *d, size_t n, off_t o), descriptor, d, n, o)
ON_DESCRIPTOR(WRITE, ssize_t, pwrite64, (int descriptor, const void *d, size_t n, off64_t o), descriptor, d, n, o)
ON_DESCRIPTOR(WRITE, ssize_t, writev, (int descriptor, const struct iovec *v, int n), descriptor, v, n)
ON_DESCRIPTOR(READ, ssize_t, read, (int descriptor, void *d, size_t n), descriptor, d, n)
ON_DESCRIPTOR(READ, ssize_t, pread, (int descriptor, void *d, size_t n, off_t o), descriptor, d, n, o)
ON_DESCRIPTOR(READ, ssize_t, pread64, (int descriptor, void *d, size_t n, off64_t o), descriptor, d, n, o)

/* What was written outlives a process that is killed; only where power fails does it take a wait for the disk. */
int fsync(int descriptor) { return is_followed(descriptor) && fails(FSYNC) ? -1 : 0; }
int fdatasync(int descriptor) { return fsync(descriptor); }

int rename(const char *from, const char *to) {
    return inside(to) && fails(RENAME) ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return inside(to) && fails(RENAME) ? -1 : REAL(renameat)(a, from, b, to);
}
