/* Weighted rendezvous hashing, also known as highest random weight. This is the file to change.
 *
 * Every node draws a score for every partition, from a hash of the two; the nodes with the highest
 * scores own it. A node's scores do not depend on the other nodes, so when one comes or goes only its
 * own partitions move. (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
 * IEEE/ACM Transactions on Networking 6(1), 1998. The weights: Schindelhauer and Schomaker, "Weighted
 * distributed hash tables", SPAA 2005, the logarithmic method.)
 */

#include "contract.h"
#include "hash.h"
#include "log.h"

/* The seed of the nodes' hashes, a part of the strategy: another seed is another table. With this one
 * a few nodes named node-0, node-1 and so on share especially well. */
#define SEED 316

/* How many bits of a hash are a draw: as many as a double holds exactly, with a half more. */
#define DRAW_BITS 52

/* A node that draws. */
struct candidate {
    uint64_t seed;
    double weight;
};

/* A node's score for a partition. */
struct score {
    double value;
    uint32_t owner;
};

struct info describe(void)
{
    return (struct info){
        .name = TEXT("my-strategy"),
        .version = TEXT("0.1.0"),
        .summary = TEXT("Weighted rendezvous hashing: every node draws a score for every partition, "
                        "the highest owns it"),
        .settings = TEXT(""),
    };
}

/* A number that is uniform in (0, 1): the middle of one of 2^52 equal parts. */
static double draw(const struct candidate *candidate, uint32_t partition)
{
    uint64_t part = hash_nth(candidate->seed, partition) >> (64 - DRAW_BITS);
    return ((double)part + 0.5) / (double)(1ull << DRAW_BITS);
}

/* With `u` uniform in (0, 1), `-ln(u) / weight` is exponentially distributed with rate `weight`, and of
 * several such numbers each is the smallest with a probability proportional to its rate. The score is
 * the inverse. */
static double score_of(double u, double weight)
{
    return -weight / natural_log(u);
}

/* Whether the score for `u` may exceed `value`, told without the logarithm, which would take most of
 * the time: since -ln(u) >= 1 - u, no score exceeds weight / (1 - u). The margin is far above any
 * rounding error. */
static int may_exceed(double value, double u, double weight)
{
    return weight * 1.000001 > value * (1 - u);
}

/* Keeps the `limit` highest scores, highest first. Of equal scores the one that came first stays first.
 * Gives how many there are now. */
static uint32_t insert(struct score *best, uint32_t kept, uint32_t limit, struct score score)
{
    uint32_t place = kept;
    while (place > 0 && best[place - 1].value < score.value)
        place--;
    if (place == limit)
        return kept;
    if (kept < limit)
        kept++;
    for (uint32_t i = kept - 1; i > place; i--)
        best[i] = best[i - 1];
    best[place] = score;
    return kept;
}

struct answer assign(const struct question *question)
{
    if (question->config.length > 0)
        return refuse(INVALID_CONFIG, TEXT("this strategy has no settings"));
    struct answer answer = {0};
    const uint32_t *by_id = check(question, &answer);
    if (by_id == NULL)
        return answer;

    size_t count = question->count;
    uint32_t partitions = question->partitions, replicas = question->replicas;
    struct candidate *candidates = allocate(count, sizeof *candidates);
    for (size_t i = 0; i < count; i++) {
        const struct node *node = &question->nodes[by_id[i]];
        uint64_t seed = hash_of_id(SEED, node->id.start, node->id.length);
        candidates[i] = (struct candidate){seed, node->weight};
    }

    struct score *best = allocate(replicas, sizeof *best);
    answer.table.count = (size_t)partitions * replicas;
    answer.table.owners = allocate(answer.table.count, sizeof *answer.table.owners);
    uint32_t *owner = answer.table.owners;
    for (uint32_t partition = 0; partition < partitions; partition++) {
        uint32_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            double u = draw(&candidates[i], partition), weight = candidates[i].weight;
            if (kept < replicas || may_exceed(best[replicas - 1].value, u, weight)) {
                struct score score = {score_of(u, weight), by_id[i]};
                kept = insert(best, kept, replicas, score);
            }
        }
        for (uint32_t i = 0; i < replicas; i++)
            *owner++ = best[i].owner;
    }
    return answer;
}
