/* Moves the wall clock of a process by SKEW_SECONDS, if the last argument of its command is SKEW_PART. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static long skew;

__attribute__((constructor)) static void begin(void) {
    char command[65536];
    const char *seconds = getenv("SKEW_SECONDS"), *part = getenv("SKEW_PART");
    FILE *file = fopen("/proc/self/cmdline", "r");
    if (!file || !seconds || !part)
        return;
    size_t length = fread(command, 1, sizeof command - 1, file);
    fclose(file);
    command[length] = 0;
    size_t wanted = strlen(part);
    /* Each argument ends with a zero byte. */
    if (length > wanted + 1 && !command[length - wanted - 2] && !strcmp(command + length - wanted - 1, part))
        skew = atol(seconds);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += skew;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
