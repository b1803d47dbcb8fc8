/*
 * The keeper outlives session daemons so that terminals do. It holds what must not end with a daemon (the listening
 * socket, a duplicate of every PTY master, the lock), starts a daemon with all of it when one has ended, and, as
 * subreaper, learns how every shell ends whoever dies. Linux.
 *
 *   keeper --directory DIR -- COMMAND…              keeps daemons; COMMAND… starts the first
 *   keeper shim PIDFILE -- ARGV0 FILE ARGS…         starts a shell so that it becomes the keeper's child
 *   keeper resume                                   what `exec` makes of a running keeper
 *   keeper --version
 *
 * Exit codes: 64 wrong arguments, 71 the system refused something, 75 the lock is held; of the shim 127 where FILE did
 * not start.
 *
 * What the channel carries is told in docs/session-protocol.md and never changes: daemons of any age must be able to
 * speak with a keeper that has run for months.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * The keeper's own descriptors lie where a daemon's do: the master of kept[i] is MASTERS + i, always. So starting a
 * daemon moves nothing and needs no second number for each, and `exec` has no numbers to pass on.
 */
enum { CHANNEL = 3, LISTENER = 4, STATE = 5, NOTHING = 6, LOCK = 7, MASTERS = 8 };
enum { LINE_BYTES_MAX = 8192, PENDING_MAX = 16, REAPED_MAX = 256 };
enum { HEALTHY_MS = 2000, DELAY_MS_FIRST = 100, DELAY_MS_MAX = 5000, FAILURES_MAX = 7 };
enum { LOOK_AGAIN_MS = 1000, LINGER_MS = 1000 };
enum { LOG_BYTES_MAX = 8 << 20 };
#define NEVER LLONG_MAX
enum { USAGE = 64, SYSTEM = 71, HELD = 75 };

/* Where fs-native-extensions is told to lock, so that a daemon without a keeper and a keeper exclude each other. */
static const off_t lock_offset = 1 << 30;

struct kept {
  uint32_t handle;
  pid_t pid;
  char *meta;
  int status;
  bool ended, untold, unanswered;
};
static struct kept *kept;
static int count, room;

/* Ends of processes that belong to no kept session: one may have ended before its `keep` arrives. The newest. */
static struct { pid_t pid; int status; bool untold; } reaped[REAPED_MAX];
static unsigned reaped_next;

static const char *directory;
static char *command_text, **command;
static char *image; /* what to become as soon as nothing is half read or half told */

static pid_t daemon_pid;
static bool ended = true;   /* the process `daemon_pid` */
static bool hung_up = true; /* every holder of the channel's other end is gone */
static bool greeted, unanswered, muted, closing;
static int failures;
static long long since, due; /* milliseconds; since NEVER: it has not said hello; due < 0: no start is planned */

static char in[LINE_BYTES_MAX], out[LINE_BYTES_MAX];
static size_t in_length, out_length;
static int pending[PENDING_MAX], pending_count; /* descriptors whose `keep` is not read yet; -1: one was lost */

static volatile sig_atomic_t terminated;

static void note_signal(int number) {
  if (number == SIGTERM) terminated = 1;
}

static _Noreturn void die(int code, const char *what) {
  dprintf(2, "keeper: %s: %s\n", what, strerror(errno));
  exit(code);
}

static long long now(void) {
  struct timespec time;
  if (clock_gettime(CLOCK_MONOTONIC, &time) < 0) die(SYSTEM, "clock_gettime");
  return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* ---- descriptors */

/* Closes every descriptor from `first` on, now or at the next exec. */
static void close_from(int first, bool at_exec) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, first, ~0U, at_exec ? 4 /* CLOSE_RANGE_CLOEXEC */ : 0) == 0) return;
#endif
  DIR *list = opendir("/proc/self/fd"); /* before Linux 5.11 */
  if (list == NULL) die(SYSTEM, "/proc/self/fd");
  for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
    int fd = atoi(entry->d_name);
    if (fd < first || fd == dirfd(list)) continue;
    if (!at_exec) close(fd);
    else if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) die(SYSTEM, "fcntl");
  }
  closedir(list);
}

/* Moves `fd` to the number `slot`; what was there is closed. On failure `fd` stays where it is. */
static bool move(int fd, int slot) {
  if (fd == slot) return true;
  if (dup3(fd, slot, O_CLOEXEC) < 0) return false;
  close(fd);
  return true;
}

/*
 * The same, sparing a descriptor that waits at `slot` for its own `keep`: a `drop` may free a number below that of one
 * whose line has come by half, and the next to come gets it.
 */
static bool move_to_slot(int fd, int slot) {
  for (int i = 0; i < pending_count; i++) {
    if (pending[i] != slot) continue;
    int spared = fcntl(slot, F_DUPFD_CLOEXEC, slot + 1);
    if (spared < 0) return false;
    pending[i] = spared;
  }
  return move(fd, slot);
}

/* Whether the next image, a daemon or a keeper, gets what is kept. */
static bool set_inherited(bool inherited) {
  for (int fd = CHANNEL; fd < MASTERS + count; fd++)
    if (fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC) < 0) return false;
  return true;
}

/* ---- what the daemon is told. It is never waited for: what has no room stays marked and is told when it has read. */

__attribute__((format(printf, 1, 2))) static bool say(const char *format, ...) {
  va_list values;
  va_start(values, format);
  size_t space = sizeof out - out_length;
  int length = vsnprintf(out + out_length, space, format, values);
  va_end(values);
  if (length < 0 || (size_t)length >= space) return false;
  out_length += (size_t)length;
  return true;
}

static bool say_end(pid_t pid, int status) {
  if (WIFSIGNALED(status)) return say("exit %d signal %d\n", pid, WTERMSIG(status));
  return say("exit %d exit %d\n", pid, WEXITSTATUS(status));
}

/* False where something had no room. */
static bool say_all(void) {
  if (muted || hung_up) return true;
  if (unanswered && !say("keeper 1 %d\n", getpid())) return false;
  unanswered = false;
  for (struct kept *k = kept; k < kept + count; k++) {
    if (k->unanswered && !say("kept %u\n", k->handle)) return false;
    k->unanswered = false;
    if (!greeted || !k->untold) continue;
    if (!say_end(k->pid, k->status)) return false;
    k->untold = false;
  }
  for (int i = 0; greeted && i < REAPED_MAX; i++) {
    if (reaped[i].untold && !say_end(reaped[i].pid, reaped[i].status)) return false;
    reaped[i].untold = false;
  }
  return true;
}

static void tell(void) {
  for (bool all = false; !all;) {
    all = say_all();
    while (out_length > 0) {
      ssize_t sent = send(CHANNEL, out, out_length, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)) return;
      if (sent < 0) sent = (ssize_t)out_length; /* nobody is there; receive() learns it too */
      out_length -= (size_t)sent;
      memmove(out, out + sent, out_length);
    }
  }
}

/* ---- the ends of processes */

static void note_end(pid_t pid, int status) {
  for (struct kept *k = kept; k < kept + count; k++) {
    if (k->pid != pid || k->ended) continue;
    k->ended = k->untold = true;
    k->status = status;
    return;
  }
  unsigned at = reaped_next++ % REAPED_MAX;
  reaped[at].pid = pid;
  reaped[at].status = status;
  reaped[at].untold = greeted;
}

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != daemon_pid) note_end(pid, status);
    else {
      ended = true;
      if (WIFSIGNALED(status)) dprintf(2, "keeper: the daemon %d ended by signal %d\n", pid, WTERMSIG(status));
      else dprintf(2, "keeper: the daemon %d ended with code %d\n", pid, WEXITSTATUS(status));
    }
  }
}

static bool is_gone(pid_t pid) {
  return kill(pid, 0) < 0 && errno == ESRCH;
}

/* A session whose shell ended before its `keep` came. A number that lives again belongs to somebody else's end. */
static void find_end(struct kept *k) {
  if (k->ended || !is_gone(k->pid)) return;
  for (unsigned i = 0; i < REAPED_MAX && i < reaped_next && !k->ended; i++) {
    unsigned at = (reaped_next - 1 - i) % REAPED_MAX;
    if (reaped[at].pid != k->pid) continue;
    k->ended = k->untold = true;
    k->status = reaped[at].status;
    reaped[at].pid = 0;
    reaped[at].untold = false;
  }
}

/* ---- what the daemon says */

static void forget_input(void) {
  in_length = 0;
  while (pending_count > 0)
    if (pending[--pending_count] >= 0) close(pending[pending_count]);
  free(image);
  image = NULL;
}

/*
 * What came is not the protocol. The daemon sees the end of the channel and goes on without a keeper. Our end stays
 * open, and what comes is discarded: only so can it be seen that daemon *and* successor are gone, and two never serve
 * at once.
 */
static void mute(const char *why) {
  if (muted) return;
  dprintf(2, "keeper: what the daemon %d said is %s; not listening to it any more\n", daemon_pid, why);
  muted = true;
  greeted = unanswered = false;
  out_length = 0;
  if (shutdown(CHANNEL, SHUT_WR) < 0 && errno != ENOTCONN) die(SYSTEM, "shutdown");
}

/* A decimal number from 1 to `max`, and the blank after it. */
static bool read_number(char **at, long long max, long long *value) {
  *value = 0;
  const char *first = *at;
  for (; **at >= '0' && **at <= '9'; ++*at)
    if ((*value = *value * 10 + (**at - '0')) > max) return false;
  if (*at == first || *value < 1 || (**at != ' ' && **at != '\0')) return false;
  if (**at == ' ') ++*at;
  return true;
}

static struct kept *find(uint32_t handle) {
  for (struct kept *k = kept; k < kept + count; k++)
    if (k->handle == handle) return k;
  return NULL;
}

static bool hello(char *rest) {
  long long version, pid;
  if (!read_number(&rest, 1, &version) || !read_number(&rest, INT_MAX, &pid) || *rest != '\0') return false;
  if (pid != daemon_pid || since == NEVER) since = now();
  daemon_pid = (pid_t)pid;
  ended = false; /* where it has ended all the same, the channel's end makes us look */
  /* It took over, or came up, while we were asked to end. */
  if (closing && kill(daemon_pid, SIGTERM) < 0 && errno != ESRCH) dprintf(2, "keeper: kill: %s\n", strerror(errno));
  greeted = unanswered = true;
  for (struct kept *k = kept; k < kept + count; k++) k->untold = k->ended;
  return true;
}

static bool make_room(void) {
  if (count < room) return true;
  struct kept *larger = realloc(kept, sizeof *kept * (size_t)(room + 64));
  if (larger == NULL) return false;
  kept = larger;
  room += 64;
  return true;
}

static bool keep(char *rest) {
  long long handle, pid;
  if (!read_number(&rest, UINT32_MAX, &handle) || !read_number(&rest, INT_MAX, &pid)) return false;
  if (pending_count == 0) return false;
  int fd = pending[0];
  memmove(pending, pending + 1, sizeof *pending * (size_t)--pending_count);

  struct kept *k = find((uint32_t)handle);
  char *meta = strdup(rest);
  int slot = MASTERS + (k != NULL ? (int)(k - kept) : count);
  if (fd < 0 || meta == NULL || (k == NULL && !make_room()) || !move_to_slot(fd, slot)) {
    free(meta);
    if (fd >= 0) close(fd);
    return say("refused keep %lld\n", handle); /* no room even for this: it would wait for the answer for ever */
  }
  if (k == NULL) {
    k = &kept[count++];
    *k = (struct kept){.handle = (uint32_t)handle};
  }
  free(k->meta);
  k->meta = meta;
  if (k->pid != pid) k->ended = k->untold = false;
  k->pid = (pid_t)pid;
  k->unanswered = true;
  find_end(k);
  return true;
}

static bool note(char *rest) {
  long long handle;
  if (!read_number(&rest, UINT32_MAX, &handle)) return false;
  struct kept *k = find((uint32_t)handle);
  char *meta = k == NULL ? NULL : strdup(rest);
  if (meta == NULL) return true; /* the older META is still a true one */
  free(k->meta);
  k->meta = meta;
  return true;
}

static bool drop(char *rest) {
  long long handle;
  if (!read_number(&rest, UINT32_MAX, &handle) || *rest != '\0') return false;
  struct kept *k = find((uint32_t)handle);
  if (k == NULL) return true;
  free(k->meta);
  int last = MASTERS + --count;
  if (k == kept + count) close(last);
  else if (!move(last, MASTERS + (int)(k - kept))) die(SYSTEM, "dup3");
  *k = kept[count];
  return true;
}

/* The command line that `text`, its arguments separated by TABs, stands for. */
static bool run(const char *text) {
  size_t arguments = 1;
  for (const char *at = text; *at != '\0'; at++) arguments += *at == '\t';
  if (*text == '\0' || *text == '\t') return false;
  char *copy = strdup(text), *cut = strdup(text), **list = calloc(arguments + 1, sizeof *list);
  if (copy == NULL || cut == NULL || list == NULL) die(SYSTEM, "run");
  for (size_t i = 0; i < arguments; i++) list[i] = strsep(&cut, "\t");
  if (command != NULL) free(command[0]);
  free(command);
  free(command_text);
  command = list;
  command_text = copy;
  return true;
}

static bool plan_exec(const char *path) {
  if (*path != '/') return false;
  free(image);
  if ((image = strdup(path)) == NULL) return say("refused exec\n");
  return true;
}

/* False where the line is not one of the protocol. */
static bool obey(char *line) {
  char *rest = line + strcspn(line, " ");
  if (*rest != '\0') *rest++ = '\0';
  if (strcmp(line, "hello") == 0) return hello(rest);
  if (strcmp(line, "keep") == 0) return keep(rest);
  if (strcmp(line, "note") == 0) return note(rest);
  if (strcmp(line, "drop") == 0) return drop(rest);
  if (strcmp(line, "run") == 0) return run(rest);
  if (strcmp(line, "exec") == 0) return plan_exec(rest);
  if (strcmp(line, "bye") == 0) return closing = true;
  return false;
}

static void take_descriptor(int fd) {
  if (!muted && pending_count < PENDING_MAX) {
    pending[pending_count++] = fd;
    return;
  }
  if (fd >= 0) close(fd);
  mute("more descriptors than lines");
}

static void receive(void) {
  /* Also where there is only room to write: it costs one call and finds nothing. */
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int) * PENDING_MAX)];
  } control;
  struct iovec space = {in + in_length, sizeof in - in_length};
  struct msghdr message = {
      .msg_iov = &space, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t length = recvmsg(CHANNEL, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (length <= 0) {
    forget_input();
    out_length = 0;
    hung_up = true;
    greeted = unanswered = muted = false;
    if (dup3(NOTHING, CHANNEL, O_CLOEXEC) < 0) die(SYSTEM, "dup3");
    return;
  }
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      take_descriptor(fd);
    }
  }
  /* The kernel dropped one for want of a number; its `keep` must not take the next one's. */
  if (message.msg_flags & MSG_CTRUNC) take_descriptor(-1);

  in_length += (size_t)length;
  char *start = in, *end;
  while (!muted && (end = memchr(start, '\n', in_length - (size_t)(start - in))) != NULL) {
    *end = '\0';
    if (strlen(start) != (size_t)(end - start) || !obey(start)) mute("not the protocol");
    start = end + 1;
  }
  in_length -= (size_t)(start - in);
  memmove(in, start, in_length);
  if (in_length == sizeof in) mute("a line without an end");
  if (in_length == 0 && pending_count > 0) mute("a descriptor without a line");
  if (muted) forget_input();
}

/* ---- the daemon's life */

static bool open_log(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/daemon.log", directory);
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  bool opened = fd >= 0 && dup2(fd, 1) >= 0 && dup2(fd, 2) >= 0;
  if (fd >= 0) close(fd);
  return opened;
}

/* Between two daemons, so that one which cannot start does not fill the disk. Where it fails the old one is used on. */
static void rotate_log(void) {
  struct stat log;
  if (fstat(2, &log) < 0 || log.st_size < LOG_BYTES_MAX) return;
  char path[PATH_MAX], older[PATH_MAX];
  snprintf(path, sizeof path, "%s/daemon.log", directory);
  snprintf(older, sizeof older, "%s/daemon.log.1", directory);
  if (rename(path, older) == 0) open_log();
}

/* Every kept session, one a line, and an empty line; or -1. */
static int write_table(void) {
  int file = memfd_create("kept", MFD_CLOEXEC);
  if (file < 0) return -1;
  bool whole = true;
  for (int i = 0; i < count && whole; i++)
    whole = dprintf(file, "%d %u %d %s\n", MASTERS + i, kept[i].handle, kept[i].pid, kept[i].meta) > 0;
  if (whole && dprintf(file, "\n") > 0 && lseek(file, 0, SEEK_SET) == 0) return file;
  close(file);
  return -1;
}

static void reset_signals(void) {
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL); /* KILL and STOP refuse; they have no other */
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become_daemon(int channel, int table) {
  reset_signals();
  if (dup2(channel, CHANNEL) >= 0 && dup2(table, STATE) >= 0 && set_inherited(true)) execvp(command[0], command);
  dprintf(2, "keeper: %s: %s\n", command[0], strerror(errno));
  _exit(127);
}

/* Whatever fails here is tried again, as if a daemon had ended at once. */
static void start_daemon(void) {
  int ends[2];
  ended = hung_up = true;
  since = NEVER;
  due = -1;
  rotate_log();
  int table = write_table();
  if (table < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    dprintf(2, "keeper: cannot start a daemon: %s\n", strerror(errno));
    if (table >= 0) close(table);
    return;
  }
  pid_t pid = fork();
  if (pid == 0) become_daemon(ends[1], table);
  if (pid < 0) dprintf(2, "keeper: fork: %s\n", strerror(errno));
  close(ends[1]);
  close(table);
  if (pid < 0) close(ends[0]);
  else if (!move(ends[0], CHANNEL)) die(SYSTEM, "dup3");
  else {
    daemon_pid = pid;
    ended = hung_up = false;
  }
}

/* What is kept ends with us; shells that hang up are still reaped, for whoever inherits them might not do it. */
static _Noreturn void leave(void) {
  char path[sizeof(struct sockaddr_un)];
  snprintf(path, sizeof path, "%s/daemon.sock", directory);
  if (unlink(path) < 0 && errno != ENOENT) dprintf(2, "keeper: %s: %s\n", path, strerror(errno));
  close_from(3, false);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  for (long long left, until = now() + LINGER_MS; (left = until - now()) > 0;) {
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) continue;
    if (pid < 0) break; /* no child is left */
    struct timespec time = {left / 1000, left % 1000 * 1000000};
    sigtimedwait(&child, NULL, &time);
  }
  exit(0);
}

static void look_after_daemon(void) {
  /* A successor that died while its predecessor lived was reaped by that one. */
  if (!ended && hung_up && is_gone(daemon_pid)) ended = true;
  /* A successor may live where the channel is open: it says hello, or it dies and the channel ends. */
  if (!ended || !hung_up) return;
  if (closing) leave();
  long long time = now();
  if (due < 0) {
    if (time - since >= HEALTHY_MS) failures = 0;
    long long delay = failures == 0 ? 0 : DELAY_MS_FIRST << (failures - 1);
    if (failures < FAILURES_MAX) failures++;
    due = time + (delay < DELAY_MS_MAX ? delay : DELAY_MS_MAX);
  }
  if (time >= due) start_daemon();
}

/* A daemon that serves decides itself what SIGTERM means. Where none does, nobody could be asked to say `bye`. */
static void pass_termination(void) {
  terminated = 0;
  if (!greeted || ended) closing = true;
  if (!ended && kill(daemon_pid, SIGTERM) < 0) dprintf(2, "keeper: kill: %s\n", strerror(errno));
}

/*
 * ---- replacing ourselves. The state is text of our own, read by another version; unknown lines are skipped. Ends of
 * processes that are not kept have all been told by then, and the daemon remembers them for a `keep` that is on its way.
 */

static bool write_state(int file) {
  bool whole =
      dprintf(file, "keeper-state 1\ndirectory %s\nrun %s\n", directory, command_text) > 0 &&
      dprintf(file, "daemon %d %d %d %d %d %d\n", daemon_pid, ended, hung_up, greeted, muted, closing) > 0 &&
      dprintf(file, "starts %d %lld %lld\n", failures, since, due) > 0;
  for (struct kept *k = kept; k < kept + count && whole; k++)
    whole = dprintf(file, "kept %u %d %d %d %s\n", k->handle, k->pid, k->ended, k->status, k->meta) > 0;
  return whole && lseek(file, 0, SEEK_SET) == 0;
}

static void exec_image(void) {
  int file = memfd_create("keeper-state", MFD_CLOEXEC);
  if (file >= 0 && write_state(file) && move(file, STATE) && set_inherited(true))
    execl(image, image, "resume", (char *)NULL);
  dprintf(2, "keeper: cannot become %s: %s\n", image, strerror(errno));
  if (dup3(NOTHING, STATE, O_CLOEXEC) < 0 || !set_inherited(false)) die(SYSTEM, "fcntl");
  free(image);
  image = NULL;
  say("refused exec\n"); /* there is room: nothing was left to tell */
}

static void read_state_line(char *line) {
  int flags[5], pid, status, end = 0, dead;
  unsigned handle;
  if (strncmp(line, "directory ", 10) == 0) directory = strdup(line + 10);
  else if (strncmp(line, "run ", 4) == 0) run(line + 4);
  else if (sscanf(line, "daemon %d %d %d %d %d %d", &pid, flags, flags + 1, flags + 2, flags + 3, flags + 4) == 6) {
    daemon_pid = pid;
    ended = flags[0];
    hung_up = flags[1];
    greeted = unanswered = flags[2];
    muted = flags[3];
    closing = flags[4];
  } else if (sscanf(line, "kept %u %d %d %d%n", &handle, &pid, &dead, &status, &end) == 4 && line[end] == ' ') {
    if (!make_room()) die(SYSTEM, "resume");
    char *meta = strdup(line + end + 1);
    if (meta == NULL) die(SYSTEM, "resume");
    kept[count++] = (struct kept){.handle = handle, .pid = pid, .ended = dead, .status = status, .meta = meta};
  } else sscanf(line, "starts %d %lld %lld", &failures, &since, &due);
}

static void resume(void) {
  FILE *file = fdopen(STATE, "r");
  char *line = NULL;
  size_t space = 0;
  errno = EINVAL;
  if (file == NULL || getline(&line, &space, file) < 0 || strcmp(line, "keeper-state 1\n") != 0) die(SYSTEM, "resume");
  for (ssize_t length; (length = getline(&line, &space, file)) > 0;) {
    line[length - 1] = '\0';
    read_state_line(line);
  }
  free(line);
  fclose(file);
  errno = EINVAL;
  if (directory == NULL || command == NULL) die(SYSTEM, "resume");
  if (dup3(NOTHING, STATE, O_CLOEXEC) < 0 || !set_inherited(false)) die(SYSTEM, "fcntl");
}

/* ---- beginning */

static void open_nothing(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= 2); /* whoever started us may have closed these */
  if (fd < 0 || !move(fd, NOTHING)) die(SYSTEM, "/dev/null");
  if (dup3(NOTHING, CHANNEL, O_CLOEXEC) < 0 || dup3(NOTHING, STATE, O_CLOEXEC) < 0) die(SYSTEM, "dup3");
}

static void take_lock(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/lock", directory);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || !move(fd, LOCK)) die(SYSTEM, path);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = lock_offset, .l_len = 1};
  if (fcntl(LOCK, F_OFD_SETLK, &lock) < 0) die(errno == EAGAIN || errno == EACCES ? HELD : SYSTEM, path);
}

/* Under a name of its own first: whoever knows the public name finds a socket that listens, or none. */
static void bind_socket(void) {
  struct sockaddr_un draft = {.sun_family = AF_UNIX};
  char path[sizeof draft.sun_path];
  snprintf(path, sizeof path, "%s/daemon.sock", directory);
  errno = ENAMETOOLONG;
  int length = snprintf(draft.sun_path, sizeof draft.sun_path, "%s.new", path);
  if (length >= (int)sizeof draft.sun_path) die(USAGE, directory);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || !move(fd, LISTENER)) die(SYSTEM, "socket");
  if (unlink(draft.sun_path) < 0 && errno != ENOENT) die(SYSTEM, draft.sun_path);
  mode_t mask = umask(0177);
  if (bind(LISTENER, (struct sockaddr *)&draft, sizeof draft) < 0) die(SYSTEM, draft.sun_path);
  umask(mask);
  if (listen(LISTENER, 511) < 0 || rename(draft.sun_path, path) < 0) die(SYSTEM, path);
}

static bool run_arguments(char **arguments) {
  size_t length = 0;
  for (char **a = arguments; *a != NULL; a++) {
    if (strpbrk(*a, "\t\n") != NULL) return false;
    length += strlen(*a) + 1;
  }
  char *text = malloc(length), *end = text;
  if (text == NULL) die(SYSTEM, "malloc");
  for (char **a = arguments; *a != NULL; a++, *end++ = '\t') end = stpcpy(end, *a);
  end[-1] = '\0';
  bool usable = run(text);
  free(text);
  return usable;
}

static bool begin(int argc, char **argv) {
  if (argc < 5 || strcmp(argv[1], "--directory") != 0 || argv[2][0] != '/' || strcmp(argv[3], "--") != 0) return false;
  directory = argv[2];
  if (strlen(directory) >= sizeof(struct sockaddr_un) || strchr(directory, '\n') != NULL) return false;
  if (!run_arguments(argv + 4)) return false;
  close_from(3, false);
  open_nothing();
  take_lock();
  bind_socket();
  if (dup2(NOTHING, 0) < 0 || !open_log()) die(SYSTEM, "daemon.log");
  return true;
}

static void set_up_process(void) {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) die(SYSTEM, "subreaper");
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) die(SYSTEM, "getrlimit");
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) < 0) die(SYSTEM, "setrlimit");
  struct sigaction noted = {.sa_handler = note_signal}, ignored = {.sa_handler = SIG_IGN};
  if (sigaction(SIGCHLD, &noted, NULL) < 0 || sigaction(SIGTERM, &noted, NULL) < 0) die(SYSTEM, "sigaction");
  /* Of the terminal we may have been started from, which is not one of those we keep; and of a log that may not grow. */
  static const int harmless[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGXFSZ};
  for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
    if (sigaction(harmless[i], &ignored, NULL) < 0) die(SYSTEM, "sigaction");
}

static _Noreturn void serve(void) {
  /* Only ppoll lets signals in, so that none falls between looking and waiting. */
  sigset_t awaited, none;
  sigemptyset(&none);
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGCHLD);
  sigaddset(&awaited, SIGTERM);
  if (sigprocmask(SIG_BLOCK, &awaited, NULL) < 0) die(SYSTEM, "sigprocmask");
  set_up_process();
  for (;;) {
    reap();
    if (terminated) pass_termination();
    look_after_daemon();
    tell();
    if (image != NULL && in_length == 0 && pending_count == 0 && out_length == 0) {
      exec_image();
      continue;
    }
    long long wait = !ended ? LOOK_AGAIN_MS : due - now();
    if (wait < 0) wait = 0;
    struct timespec time = {wait / 1000, wait % 1000 * 1000000};
    struct pollfd channel = {.fd = hung_up ? -1 : CHANNEL, .events = out_length > 0 ? POLLIN | POLLOUT : POLLIN};
    int ready = ppoll(&channel, 1, hung_up ? &time : NULL, &none);
    if (ready < 0 && errno != EINTR) die(SYSTEM, "ppoll");
    if (ready > 0) receive();
  }
}

/* ---- the shim */

/* Read once we have ended, so that nobody finds half of it. */
static int write_pid_file(const char *path, const char *word, int number) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return -1;
  bool written = dprintf(fd, "%s%d\n", word, number) > 0;
  if (close(fd) == 0 && written) return 0;
  unlink(path);
  return -1;
}

/* In a child that has our memory until it runs FILE; returns where it does not. */
static void become_shell(char **argv) {
  char *file = argv[1];
  argv[1] = argv[0];
  close_from(3, true);
  /* A session leader with a controlling terminal, as a shell is: job control and hang-ups depend on it. */
  if (setsid() < 0 || ioctl(0, TIOCSCTTY, 0) < 0) return;
  reset_signals();
  execvp(file, argv + 1);
}

static int shim(char *pid_file, char **argv) {
  /* Giving up the terminal hangs up its foreground: us. Where it fails it never was ours, and need not be given up. */
  signal(SIGHUP, SIG_IGN);
  ioctl(0, TIOCNOTTY);
  volatile int error = 0;
  pid_t pid = vfork(); /* goes on here when FILE runs, or cannot */
  if (pid == 0) {
    become_shell(argv);
    error = errno;
    _exit(127);
  }
  if (pid < 0) error = errno;
  bool failed = error != 0;
  if (failed && pid > 0) waitpid(pid, NULL, 0);
  if (write_pid_file(pid_file, failed ? "error " : "", failed ? error : (int)pid) == 0) return failed ? 127 : 0;
  /* Nobody would ever know its number. */
  if (!failed && kill(pid, SIGKILL) == 0) waitpid(pid, NULL, 0);
  return 127;
}

int main(int argc, char **argv) {
  if (argc >= 6 && strcmp(argv[1], "shim") == 0 && strcmp(argv[3], "--") == 0) return shim(argv[2], argv + 4);
  if (argc == 2 && strcmp(argv[1], "--version") == 0) return dprintf(1, "keeper 1\n") > 0 ? 0 : SYSTEM;
  if (argc == 2 && strcmp(argv[1], "resume") == 0) resume();
  else if (!begin(argc, argv)) {
    dprintf(2, "keeper: usage: keeper --directory DIR -- COMMAND… | keeper shim PIDFILE -- ARGV0 FILE ARGS…\n");
    return USAGE;
  }
  serve();
}
