/*
 * Programs for inside a terminal, which is made raw first: what they write is what comes out, what they read is what
 * went in.
 *
 *   stream    writes the numbered stream: byte n of it depends on n alone, so no byte can be lost, doubled or moved
 *             without being found. Lines of 16 bytes, each its own offset in 15 hexadecimal digits.
 *               bytes=N   then ends; 0, the default: never       rate=N   bytes a second; 0, the default: all it can
 *               begin=1   waits for a byte of input after line 0     pause=1   waits for one before it ends
 *   echo      writes line 0 of the numbered stream once it listens, then all that it reads
 *               bytes=N   ends after so many bytes of input
 *   sink      says "ready", reads nothing for delay=MS, else until SIGUSR1, then bytes=N of the numbered stream; says
 *             "whole" or "byte N differs"
 *   idle      says "ready" and waits
 *   stubborn  as idle, and cannot be ended by SIGHUP, SIGINT or SIGTERM
 *
 * Each ends with code=N, or by signal=N.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { line_bytes = 16, block_bytes = 4096 };

static char **arguments;

static long long number(const char *name, long long otherwise) {
  size_t length = strlen(name);
  for (char **argument = arguments; *argument != NULL; argument += 1)
    if (strncmp(*argument, name, length) == 0 && (*argument)[length] == '=') return atoll(*argument + length + 1);
  return otherwise;
}

static void end(void) {
  int by = (int)number("signal", 0);
  if (by != 0) {
    signal(by, SIG_DFL);
    kill(getpid(), by);
    for (;;) pause();
  }
  _exit((int)number("code", 0));
}

/* The terminal hung up. */
static void gone(void) { _exit(129); }

static void make_raw(void) {
  struct termios terminal;
  if (tcgetattr(0, &terminal) != 0) return;
  cfmakeraw(&terminal);
  tcsetattr(0, TCSANOW, &terminal);
}

static void put(const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(1, bytes, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) gone();
    bytes += written;
    length -= (size_t)written;
  }
}

static size_t get(char *bytes, size_t length) {
  for (;;) {
    ssize_t got = read(0, bytes, length);
    if (got > 0) return (size_t)got;
    if (got < 0 && errno == EINTR) continue;
    gone();
  }
}

/* The block that begins at `offset`, a multiple of the block's size. */
static void fill(char *block, long long offset) {
  for (char *line = block; line < block + block_bytes; line += line_bytes, offset += line_bytes) {
    long long rest = offset;
    for (int digit = line_bytes - 2; digit >= 0; digit -= 1, rest >>= 4) line[digit] = "0123456789abcdef"[rest & 15];
    line[line_bytes - 1] = '\n';
  }
}

static void until(struct timespec start, double seconds) {
  struct timespec due = start;
  long long ns = due.tv_nsec + (long long)(seconds * 1e9);
  due.tv_sec += ns / 1000000000;
  due.tv_nsec = ns % 1000000000;
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) continue;
}

static void stream(void) {
  long long bytes = number("bytes", 0), rate = number("rate", 0), begin = number("begin", 0), offset = 0;
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  char block[block_bytes];
  /* Whole lines, about a thousand times a second. */
  int paced = (int)(rate / 1000 / line_bytes + 1) * line_bytes;
  while (bytes == 0 || offset < bytes) {
    fill(block, offset - offset % block_bytes);
    int at = (int)(offset % block_bytes);
    int length = begin ? line_bytes : rate > 0 ? paced : block_bytes - at;
    if (length > block_bytes - at) length = block_bytes - at;
    if (bytes > 0 && length > bytes - offset) length = (int)(bytes - offset);
    put(block + at, (size_t)length);
    offset += length;
    if (begin) {
      get(block, 1);
      clock_gettime(CLOCK_MONOTONIC, &start);
      begin = 0;
    }
    if (rate > 0) until(start, (double)offset / (double)rate);
  }
  if (number("pause", 0)) get(block, 1);
}

static void echo(void) {
  long long bytes = number("bytes", 0), offset = 0;
  char block[block_bytes];
  fill(block, 0);
  put(block, line_bytes);
  while (bytes == 0 || offset < bytes) {
    size_t got = get(block, sizeof block);
    put(block, got);
    offset += (long long)got;
  }
}

static void sink(void) {
  long long bytes = number("bytes", 0), offset = 0, differs = -1;
  char got[block_bytes], expected[block_bytes];
  sigset_t go;
  int got_signal;
  sigemptyset(&go);
  sigaddset(&go, SIGUSR1);
  sigprocmask(SIG_BLOCK, &go, NULL);
  put("ready\n", 6);
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  long long delay = number("delay", -1);
  if (delay >= 0) until(start, (double)delay / 1000);
  else sigwait(&go, &got_signal);
  while (offset < bytes) {
    int at = (int)(offset % block_bytes);
    size_t length = get(got, (size_t)(block_bytes - at));
    fill(expected, offset - at);
    for (size_t index = 0; index < length && differs < 0; index += 1)
      if (got[index] != expected[at + (int)index]) differs = offset + (long long)index;
    offset += (long long)length;
  }
  char answer[64];
  int length = differs < 0 ? snprintf(answer, sizeof answer, "whole\n")
                           : snprintf(answer, sizeof answer, "byte %lld differs\n", differs);
  put(answer, (size_t)length);
}

static void idle(void) {
  put("ready\n", 6);
  for (;;) pause();
}

int main(int count, char **all) {
  if (count < 2) return 2;
  arguments = all + 2;
  make_raw();
  if (strcmp(all[1], "stream") == 0) stream();
  else if (strcmp(all[1], "echo") == 0) echo();
  else if (strcmp(all[1], "sink") == 0) sink();
  else if (strcmp(all[1], "idle") == 0) idle();
  else if (strcmp(all[1], "stubborn") == 0) {
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    idle();
  } else return 2;
  end();
}
