/* What lies between the host and src/strategy.c: memory, the exported functions, and the check. */

#include "contract.h"

#define EXPORT(name) __attribute__((export_name(name)))

_Static_assert(sizeof(struct node) == 20, "the layout of the canonical ABI");
_Static_assert(sizeof(struct info) == 32, "the layout of the canonical ABI");
_Static_assert(sizeof(struct answer) == 16, "the layout of the canonical ABI");

/* Memory is taken from the end of the program's own data on, and never returned piece by piece. */
#define PAGE_BYTES 65536
extern unsigned char __heap_base;
static uintptr_t next_free;

static void *take(size_t align, size_t size)
{
    if (next_free == 0)
        next_free = (uintptr_t)&__heap_base;
    uintptr_t start = (next_free + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t available = __builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (size > UINT32_MAX - PAGE_BYTES - start)
        __builtin_trap();
    if (start + size > available) {
        size_t pages = (start + size - available + PAGE_BYTES - 1) / PAGE_BYTES;
        if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX)
            __builtin_trap();
    }
    next_free = start + size;
    return (void *)start;
}

void *allocate(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        __builtin_trap();
    return take(16, bytes);
}

/* The host calls this for memory in which it puts the question. It never resizes what it has. */
EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size)
{
    if (old != NULL || old_size != 0)
        __builtin_trap();
    return take(align, size);
}

EXPORT("kv:placement/strategy@0.2.0#describe")
const struct info *export_describe(void)
{
    static struct info info;
    info = describe();
    return &info;
}

EXPORT("kv:placement/strategy@0.2.0#assign")
const struct answer *export_assign(const struct node *nodes, size_t count, uint32_t partitions,
                                   uint32_t replicas, const char *config, size_t config_length)
{
    static struct answer answer;
    struct question question = {nodes, count, partitions, replicas, {config, config_length}};
    answer = assign(&question);
    return &answer;
}

/* The host calls this when it has read the answer. */
EXPORT("cabi_post_kv:placement/strategy@0.2.0#assign")
void export_assign_done(const struct answer *answer)
{
    (void)answer;
    next_free = 0;
}

/* Less than, equal to or greater than 0, as the one text comes before, is, or comes after the other. */
static int compare(struct text one, struct text other)
{
    size_t shorter = one.length < other.length ? one.length : other.length;
    for (size_t i = 0; i < shorter; i++) {
        if (one.start[i] != other.start[i])
            return (unsigned char)one.start[i] < (unsigned char)other.start[i] ? -1 : 1;
    }
    return one.length == other.length ? 0 : one.length < other.length ? -1 : 1;
}

/* Sorts indexes of nodes by the nodes' ids: a heap sort, which is quick for any order. */
static void sort_by_id(uint32_t *indexes, size_t count, const struct node *nodes)
{
    for (size_t heap = count / 2, end = count; end > 1;) {
        uint32_t sinking;
        if (heap > 0) {
            sinking = indexes[--heap];
        } else {
            sinking = indexes[--end];
            indexes[end] = indexes[0];
        }
        size_t place = heap;
        for (size_t child; (child = 2 * place + 1) < end; place = child) {
            if (child + 1 < end && compare(nodes[indexes[child]].id, nodes[indexes[child + 1]].id) < 0)
                child++;
            if (compare(nodes[indexes[child]].id, nodes[sinking].id) <= 0)
                break;
            indexes[place] = indexes[child];
        }
        indexes[place] = sinking;
    }
}

struct answer refuse(enum reason reason, struct text why)
{
    struct answer answer = {.refused = 1, .refusal = {.reason = reason, .why = why}};
    return answer;
}

uint32_t *check(const struct question *question, struct answer *refusal)
{
    uint32_t partitions = question->partitions, replicas = question->replicas;
    if (partitions == 0 || partitions > PARTITIONS_MAX || (partitions & (partitions - 1)) != 0) {
        *refusal = refuse(UNSUPPORTED, TEXT("expected a power of two of partitions from 1 to 65536"));
        return NULL;
    }
    if (replicas == 0 || replicas > REPLICAS_MAX) {
        *refusal = refuse(UNSUPPORTED, TEXT("expected 1 to 64 replicas"));
        return NULL;
    }
    if (question->count < replicas) {
        *refusal = refuse(TOO_FEW_NODES, TEXT(""));
        refusal->refusal.needed = replicas;
        return NULL;
    }
    uint32_t *by_id = allocate(question->count, sizeof *by_id);
    for (size_t i = 0; i < question->count; i++) {
        const struct node *node = &question->nodes[i];
        if (node->weight == 0 || node->weight > WEIGHT_MAX) {
            *refusal = refuse(UNSUPPORTED, TEXT("expected weights from 1 to 256"));
            return NULL;
        }
        if (node->id.length == 0 || node->id.length > ID_BYTES_MAX) {
            *refusal = refuse(UNSUPPORTED, TEXT("expected ids of 1 to 64 bytes"));
            return NULL;
        }
        by_id[i] = i;
    }
    sort_by_id(by_id, question->count, question->nodes);
    for (size_t i = 1; i < question->count; i++) {
        if (compare(question->nodes[by_id[i - 1]].id, question->nodes[by_id[i]].id) == 0) {
            *refusal = refuse(UNSUPPORTED, TEXT("two nodes have the same id"));
            return NULL;
        }
    }
    return by_id;
}
