/*
 * A disk that fails, for one process: preloaded, it makes the n-th matching call of libc fail.
 *
 *   FAULT_CALLS   write | flush: write, writev, pwrite, pwritev; or fsync, fdatasync
 *   FAULT_PATH    only where the file's path holds this text
 *   FAULT_AT      which call fails, counted from 1; 0: none
 *   FAULT_ERRNO   with which number
 *   FAULT_LASTS   1: so do all calls after it
 *   FAULT_LOG     gets the path of each matching call, one a line
 *
 * Processes that are started from there are spared.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *path_part, *log_path;
static int writes, fails_at, fails_with, lasts;
static atomic_int count;

__attribute__((constructor)) static void begin(void) {
  const char *calls = getenv("FAULT_CALLS");
  if (calls == NULL) return;
  writes = strcmp(calls, "write") == 0;
  path_part = getenv("FAULT_PATH");
  log_path = getenv("FAULT_LOG");
  fails_at = atoi(getenv("FAULT_AT"));
  fails_with = atoi(getenv("FAULT_ERRNO"));
  lasts = atoi(getenv("FAULT_LASTS"));
  unsetenv("LD_PRELOAD");
}

/* Whether this call is the one. */
static int fails(int fd, int is_write) {
  if (path_part == NULL || is_write != writes) return 0;
  int saved = errno;
  char link[32], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 2);
  errno = saved;
  if (length < 0) return 0;
  path[length] = 0;
  if (strstr(path, path_part) == NULL) return 0;
  int now = atomic_fetch_add(&count, 1) + 1;
  path[length] = '\n';
  int log = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (log >= 0) {
    syscall(SYS_write, log, path, length + 1);
    syscall(SYS_close, log);
  }
  errno = saved;
  return fails_at > 0 && (now == fails_at || (lasts && now > fails_at));
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL() return errno = fails_with, -1

ssize_t write(int fd, const void *bytes, size_t length) {
  if (!fails(fd, 1)) return REAL(write)(fd, bytes, length);
  FAIL();
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
  if (!fails(fd, 1)) return REAL(pwrite64)(fd, bytes, length, at);
  FAIL();
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

ssize_t writev(int fd, const struct iovec *parts, int number) {
  if (!fails(fd, 1)) return REAL(writev)(fd, parts, number);
  FAIL();
}

ssize_t pwritev64(int fd, const struct iovec *parts, int number, off64_t at) {
  if (!fails(fd, 1)) return REAL(pwritev64)(fd, parts, number, at);
  FAIL();
}

ssize_t pwritev(int fd, const struct iovec *parts, int number, off_t at) { return pwritev64(fd, parts, number, at); }

int fsync(int fd) {
  if (!fails(fd, 0)) return REAL(fsync)(fd);
  FAIL();
}

int fdatasync(int fd) {
  if (!fails(fd, 0)) return REAL(fdatasync)(fd);
  FAIL();
}
