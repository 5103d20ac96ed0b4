/* Records in RECORD_LOG, in their order, all changes that a process makes to files below RECORD_BELOW, and which of them
 * it has waited for the disk to have. Each record is a line `what, path, second path, number, bytes of data`, separated
 * by tabs, and then the data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int log_file = -1;
static const char *below;
/* A change and its record are one step, so that the order of the records is that of the changes. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("RECORD_LOG");
    below = getenv("RECORD_BELOW");
    if (log && below)
        log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_below(const char *path) {
    size_t length = below ? strlen(below) : 0;
    return log_file >= 0 && !strncmp(path, below, length) && (path[length] == '/' || !path[length]);
}

/* Return 1 if the file is below the folder, and its path. */
static int path_of(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = log_file < 0 ? -1 : readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

static void note(const char *what, const char *path, const char *other, long long number, const void *data, size_t size) {
    char line[2 * PATH_MAX + 128];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%lld\t%zu\n", what, path, other, number, size);
    struct iovec parts[2] = {{line, length}, {(void *)data, size}};
    if (syscall(SYS_writev, log_file, parts, 2) != (long)(length + size))
        abort(); /* with a gap in it the record is worth nothing */
}

/* Run an expression, and note it if it did not fail. */
#define NOTED(watched, run, failed, ...)                                                                               \
    pthread_mutex_lock(&order);                                                                                        \
    __typeof__(run) result = run;                                                                                      \
    int error = errno;                                                                                                 \
    if ((watched) && result != (failed))                                                                               \
        note(__VA_ARGS__);                                                                                             \
    pthread_mutex_unlock(&order);                                                                                      \
    errno = error;                                                                                                     \
    return result

static int opened(int folder, const char *given, int flags, mode_t mode) {
    char path[PATH_MAX] = "";
    pthread_mutex_lock(&order);
    int file = syscall(SYS_openat, folder, given, flags, mode);
    int error = errno;
    if (file >= 0 && (flags & (O_CREAT | O_TRUNC)) && path_of(file, path))
        note("open", path, "", !!(flags & O_TRUNC), 0, 0);
    pthread_mutex_unlock(&order);
    errno = error;
    return file;
}

#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }

ssize_t write(int file, const void *data, size_t size) {
    char path[PATH_MAX];
    if (!path_of(file, path))
        return syscall(SYS_write, file, data, size);
    NOTED(1, (ssize_t)syscall(SYS_write, file, data, size), -1, "write", path, "", lseek(file, 0, SEEK_CUR) - result, data,
          result);
}

static ssize_t written(int file, const void *data, size_t size, off_t offset) {
    char path[PATH_MAX];
    int watched = path_of(file, path);
    NOTED(watched, (ssize_t)syscall(SYS_pwrite64, file, data, size, offset), -1, "write", path, "", offset, data, result);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t offset) { return written(file, data, size, offset); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) { return written(file, data, size, offset); }

static int truncated(int file, off_t size) {
    char path[PATH_MAX];
    int watched = path_of(file, path);
    NOTED(watched, (int)syscall(SYS_ftruncate, file, size), -1, "truncate", path, "", size, 0, 0);
}
int ftruncate(int file, off_t size) { return truncated(file, size); }
int ftruncate64(int file, off64_t size) { return truncated(file, size); }

static int synced(int file, int call) {
    char path[PATH_MAX];
    int watched = path_of(file, path);
    NOTED(watched, (int)syscall(call, file), -1, "sync", path, "", 0, 0, 0);
}
int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

int rename(const char *from, const char *to) {
    NOTED(is_below(to), REAL(rename)(from, to), -1, "rename", from, to, 0, 0, 0);
}
int unlink(const char *path) { NOTED(is_below(path), REAL(unlink)(path), -1, "remove", path, "", 0, 0, 0); }
int rmdir(const char *path) { NOTED(is_below(path), REAL(rmdir)(path), -1, "remove", path, "", 0, 0, 0); }
int mkdir(const char *path, mode_t mode) {
    NOTED(is_below(path), REAL(mkdir)(path, mode), -1, "folder", path, "", 0, 0, 0);
}

/* These would change a file without a record; whoever calls them copies by read and write instead. */
static ssize_t refused(void) {
    errno = EINVAL;
    return -1;
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    return path_of(file, path) ? refused() : syscall(SYS_writev, file, parts, count);
}
ssize_t sendfile(int to, int from, off_t *offset, size_t size) {
    char path[PATH_MAX];
    return path_of(to, path) ? refused() : syscall(SYS_sendfile, to, from, offset, size);
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) { return sendfile(to, from, offset, size); }
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *offset, size_t size, unsigned int flags) {
    char path[PATH_MAX];
    return path_of(to, path) ? refused() : syscall(SYS_copy_file_range, from, at, to, offset, size, flags);
}
