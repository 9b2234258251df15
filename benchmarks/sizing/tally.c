/* Counts the bytes that a process has allocated, and the most of them since a mark. Preloaded before the C library.

   torch's CPU allocator asks for blocks on a boundary of 64 bytes and nothing else does, so the alignment tells blocks
   of tensors (and of kernels that borrow the same allocator) from those of libraries and from small change such as the
   nodes of the graph. Aligned blocks are counted as asked for; the rest as the C library rounds them. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { TENSOR, LIBRARY, PLAIN, KINDS };
enum { SLOTS = 1 << 20 };

struct slot {
    uintptr_t key; /* 0: never used; 1: used once */
    int64_t size;  /* negative: a library's */
};

static struct slot *table;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static int64_t now[KINDS], most[KINDS], cap, refused;

static void lock(void) {
    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
        ;
}

static void unlock(void) { atomic_flag_clear_explicit(&busy, memory_order_release); }

static void grow(int kind, int64_t size) {
    now[kind] += size;
    if (now[kind] > most[kind]) most[kind] = now[kind];
}

static size_t first_place(uintptr_t key) { return (size_t)((key >> 6) * 0x9E3779B97F4A7C15ull >> 44) % SLOTS; }

static void enter(uintptr_t key, int64_t size) {
    if (table == NULL)
        table = mmap(NULL, SLOTS * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t place = first_place(key);
    while (table[place].key > 1) place = (place + 1) % SLOTS;
    table[place].key = key;
    table[place].size = size;
}

/* The size of an aligned block, which is then forgotten; 0: it is none. */
static int64_t take(uintptr_t key) {
    if (table == NULL) return 0;
    for (size_t place = first_place(key); table[place].key; place = (place + 1) % SLOTS)
        if (table[place].key == key) {
            table[place].key = 1;
            return table[place].size;
        }
    return 0;
}

static void *aligned(size_t alignment, size_t size) {
    int kind = alignment == 64 ? TENSOR : LIBRARY;
    int64_t bytes = (int64_t)size;
    if (kind == TENSOR && cap > 0 && now[TENSOR] + bytes > cap) {
        refused++;
        return NULL;
    }
    void *block = __libc_memalign(alignment, size);
    if (block != NULL && size > 0) {
        lock();
        enter((uintptr_t)block, kind == TENSOR ? bytes : -bytes);
        grow(kind, bytes);
        unlock();
    }
    return block;
}

static void *plain(void *block) {
    if (block != NULL) {
        int64_t bytes = (int64_t)malloc_usable_size(block);
        lock();
        grow(PLAIN, bytes);
        unlock();
    }
    return block;
}

static void gone(void *block) {
    int64_t bytes = (int64_t)malloc_usable_size(block);
    lock();
    int64_t size = ((uintptr_t)block & 15) == 0 ? take((uintptr_t)block) : 0;
    if (size > 0) now[TENSOR] -= size;
    else if (size < 0) now[LIBRARY] += size;
    else now[PLAIN] -= bytes;
    unlock();
}

void *malloc(size_t size) { return plain(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return plain(__libc_calloc(count, size)); }

void *realloc(void *block, size_t size) {
    if (block == NULL) return malloc(size);
    gone(block);
    return plain(__libc_realloc(block, size));
}

void free(void *block) {
    if (block == NULL) return;
    gone(block);
    __libc_free(block);
}

void *memalign(size_t alignment, size_t size) { return aligned(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return aligned(alignment, size); }

int posix_memalign(void **out, size_t alignment, size_t size) {
    void *block = aligned(alignment, size);
    if (block == NULL && size > 0) return ENOMEM;
    *out = block;
    return 0;
}

/* From here on the most counts anew. */
void tally_mark(void) {
    lock();
    for (int kind = 0; kind < KINDS; kind++) most[kind] = now[kind];
    unlock();
}

int64_t tally_now(int kind) { return now[kind]; }
int64_t tally_most(int kind) { return most[kind]; }

/* Refuse tensors' blocks beyond this many bytes in all; 0: none. */
void tally_cap(int64_t bytes) {
    cap = bytes;
    refused = 0;
}

/* How often that happened. */
int64_t tally_refused(void) { return refused; }
