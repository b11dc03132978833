/* The contract of wit/placement.wit in C.
 *
 * On wasm32 these structs have exactly the layout in which the component model passes the contract's
 * types (its "canonical ABI"), so nothing is converted and no code is generated: a list is a pointer
 * and a count, a string is a list of bytes of UTF-8, and a variant is a number and a union.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stddef.h>
#include <stdint.h>

#define PARTITIONS_MAX 65536
#define REPLICAS_MAX 64
#define WEIGHT_MAX 256
#define ID_BYTES_MAX 64

/* A string: `length` bytes from `start` on, without a zero at the end. */
struct text {
    const char *start;
    size_t length;
};

/* The text of a string literal. */
#define TEXT(literal) ((struct text){(literal), sizeof(literal) - 1})

/* A node that may own partitions. */
struct node {
    struct text id;
    uint32_t weight;
    struct text zone;
};

/* What a strategy says of itself. */
struct info {
    struct text name;
    struct text version;
    struct text summary;
    /* What the configuration text may say, empty where there are no settings. */
    struct text settings;
};

/* A question: who owns each of the partitions? */
struct question {
    const struct node *nodes;
    size_t count;
    uint32_t partitions;
    uint32_t replicas;
    struct text config;
};

/* Why a strategy cannot answer. */
enum reason { TOO_FEW_NODES, INVALID_CONFIG, UNSUPPORTED };

/* An answer: a table of owners, or why there is none. */
struct answer {
    uint8_t refused;
    union {
        struct {
            /* `replicas` indexes into the nodes for each partition in turn, the best owner first. */
            uint32_t *owners;
            size_t count;
        } table;
        struct {
            uint8_t reason;
            union {
                uint32_t needed;
                struct text why;
            };
        } refusal;
    };
};

/* The two functions of a strategy. src/strategy.c defines them. */
struct info describe(void);
struct answer assign(const struct question *question);

/* Memory for `count` things of `size` bytes each, or a trap where there is none left. It is all given
 * back when the answer has been read, so there is nothing to free. */
void *allocate(size_t count, size_t size);

/* Refuses a question that the contract does not allow: its answer is then in `refusal`, and the result
 * is NULL. Otherwise the nodes' indexes in the order of their ids. A strategy that goes by it does not
 * depend on the order in which it got the nodes. */
uint32_t *check(const struct question *question, struct answer *refusal);

/* The answer that refuses. */
struct answer refuse(enum reason reason, struct text why);

#endif
