/* An allocator whose cost does not depend on what was allocated before: loaded before the C library (LD_PRELOAD) while the
 * instructions of a path are counted. glibc's takes one way or another through its bins, so that a change of what happens
 * before a path would change the path's own count, by two per cent and more.
 *
 *   block   | class | start of the block | bytes for the caller, 16 << class at the least |     both of the head u64
 *
 * Memory of a class goes back to the list of its class and never anywhere else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { CLASSES = 48, HEAD_BYTES = 16 };
static const size_t ARENA_BYTES = (size_t)64 << 20;

struct head { uint64_t class; char *start; };

static char *free_of[CLASSES];
static char *arena, *arena_end;
static int locked;

static void lock(void) { while (__atomic_exchange_n(&locked, 1, __ATOMIC_ACQUIRE)) {} }
static void unlock(void) { __atomic_store_n(&locked, 0, __ATOMIC_RELEASE); }

static struct head *head_of(void *memory) { return (struct head *)((char *)memory - HEAD_BYTES); }

static unsigned class_of(size_t bytes) {
  return bytes <= 16 ? 0 : 60 - (unsigned)__builtin_clzl(bytes - 1);
}

static char *carve(size_t bytes) {
  if ((size_t)(arena_end - arena) < bytes) {
    size_t wanted = bytes > ARENA_BYTES ? bytes : ARENA_BYTES;
    void *mapped = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return NULL;
    arena = mapped;
    arena_end = arena + wanted;
  }
  char *start = arena;
  arena += bytes;
  return start;
}

void *malloc(size_t bytes) {
  unsigned class = class_of(bytes);
  if (class >= CLASSES) { errno = ENOMEM; return NULL; }
  lock();
  char *start = free_of[class];
  if (start) free_of[class] = *(char **)(start + HEAD_BYTES);
  else start = carve(((size_t)16 << class) + HEAD_BYTES);
  unlock();
  if (!start) { errno = ENOMEM; return NULL; }
  *(struct head *)start = (struct head){class, start};
  return start + HEAD_BYTES;
}

void free(void *memory) {
  if (!memory) return;
  struct head head = *head_of(memory);
  lock();
  *(char **)(head.start + HEAD_BYTES) = free_of[head.class];
  free_of[head.class] = head.start;
  unlock();
}

void *calloc(size_t count, size_t bytes) {
  size_t all;
  if (__builtin_mul_overflow(count, bytes, &all)) { errno = ENOMEM; return NULL; }
  void *memory = malloc(all);
  return memory ? memset(memory, 0, all) : NULL;
}

void *realloc(void *memory, size_t bytes) {
  if (!memory) return malloc(bytes);
  struct head *head = head_of(memory);
  size_t room = (size_t)(head->start + HEAD_BYTES + ((size_t)16 << head->class) - (char *)memory);
  if (bytes <= room) return memory;
  void *moved = malloc(bytes);
  if (!moved) return NULL;
  memcpy(moved, memory, room);
  free(memory);
  return moved;
}

void *reallocarray(void *memory, size_t count, size_t bytes) {
  size_t all;
  if (__builtin_mul_overflow(count, bytes, &all)) { errno = ENOMEM; return NULL; }
  return realloc(memory, all);
}

void *memalign(size_t align, size_t bytes) {
  if (align <= 16) return malloc(bytes);
  char *memory = malloc(bytes + align);
  if (!memory) return NULL;
  struct head head = *head_of(memory);
  char *aligned = (char *)(((uintptr_t)memory + align - 1) & ~(uintptr_t)(align - 1));
  *head_of(aligned) = head;
  return aligned;
}

void *aligned_alloc(size_t align, size_t bytes) { return memalign(align, bytes); }

int posix_memalign(void **memory, size_t align, size_t bytes) {
  *memory = memalign(align, bytes);
  return *memory ? 0 : ENOMEM;
}
