"""A disk that fails on demand: an LD_PRELOAD shim over the writing system calls of files below a folder, compiled by the test.

`SLOW_BELOW` and `SLOW_FILE` in its environment delay the syncs below a folder by as many milliseconds as the file says.
The process that has it loaded may arm it through `Disk`: the `at`-th write, sync, truncation, rename or unlink from now fails with an
errno, and so do the `times - 1` behind it; `slow_ms` delays every sync.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static volatile int countdown = -1, left = 0, code = 5, hits = 0, slow_ms = 0, steps = 0;
static char folder[512];
void fault_arm(int at, int times, int number) { countdown = at; left = times; code = number; hits = 0; steps = 0; }
void fault_slow(int ms) { slow_ms = ms; }
void fault_below(const char *path) { strncpy(folder, path, sizeof folder - 1); }
int fault_hits(void) { return hits; }
int fault_steps(void) { return steps; }
__attribute__((constructor)) static void begin(void) {
    if (getenv("SLOW_BELOW")) strncpy(folder, getenv("SLOW_BELOW"), sizeof folder - 1);
}
static int slowness(void) {
    char text[16] = "";
    int fd = getenv("SLOW_FILE") ? open(getenv("SLOW_FILE"), O_RDONLY) : -1;
    if (fd < 0) return slow_ms;
    if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
    return atoi(text);
}
static int ours(int fd) {
    char link[64], path[1024];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}
static int fails(void) {
    steps++;
    if (countdown < 0) return 0;
    if (countdown > 1) { countdown--; return 0; }
    if (left > 0) { left--; hits++; errno = code; return 1; }
    countdown = -1;
    return 0;
}
#define SYNC if (ours(fd)) { int ms = slowness(); if (ms) usleep(ms * 1000); if (fails()) return -1; }
#define FAIL if (ours(fd) && fails()) return -1;
#define REAL(name, type) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, name)
typedef ssize_t (*pwrite_t)(int, const void *, size_t, off_t);
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
    REAL("pwrite", pwrite_t); FAIL return real(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off_t o) {
    REAL("pwrite64", pwrite_t); FAIL return real(fd, b, n, o); }
typedef ssize_t (*write_t)(int, const void *, size_t);
ssize_t write(int fd, const void *b, size_t n) { REAL("write", write_t); FAIL return real(fd, b, n); }
typedef int (*sync_t)(int);
int fsync(int fd) { REAL("fsync", sync_t); SYNC return real(fd); }
int fdatasync(int fd) { REAL("fdatasync", sync_t); SYNC return real(fd); }
typedef int (*trunc_t)(int, off_t);
int ftruncate(int fd, off_t n) { REAL("ftruncate", trunc_t); FAIL return real(fd, n); }
int ftruncate64(int fd, off_t n) { REAL("ftruncate64", trunc_t); FAIL return real(fd, n); }
typedef int (*rename_t)(const char *, const char *);
int rename(const char *a, const char *b) {
    REAL("rename", rename_t);
    if (folder[0] && strncmp(a, folder, strlen(folder)) == 0 && fails()) return -1;
    return real(a, b);
}
typedef int (*unlink_t)(const char *);
int unlink(const char *a) {
    REAL("unlink", unlink_t);
    if (folder[0] && strncmp(a, folder, strlen(folder)) == 0 && fails()) return -1;
    return real(a);
}
"""


def build(folder: Path) -> Path:
    """Compile the shim. Raises CalledProcessError, FileNotFoundError where there is no compiler."""
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True, capture_output=True)
    return library


class Disk:
    """The shim of this process (it must run under LD_PRELOAD)."""

    def __init__(self, library: str, folder: Path) -> None:
        self._lib = ctypes.CDLL(library)
        self._lib.fault_below(str(folder).encode())

    def arm(self, at: int, times: int, errno: int) -> None:
        self._lib.fault_arm(at, times, errno)

    def disarm(self) -> None:
        self._lib.fault_arm(-1, 0, 5)

    def slow(self, ms: int) -> None:
        self._lib.fault_slow(ms)

    @property
    def hits(self) -> int:
        return int(self._lib.fault_hits())
