// Weighted rendezvous hashing, also known as highest random weight. This is the file to change.
//
// Every node draws a score for every partition, from a hash of the two; the nodes with the highest
// scores own it. A node's scores do not depend on the other nodes, so when one comes or goes only its
// own partitions move. (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
// IEEE/ACM Transactions on Networking 6(1), 1998. The weights: Schindelhauer and Schomaker, "Weighted
// distributed hash tables", SPAA 2005, the logarithmic method.)

import { Answer, Info, Node, Reason, byId, check } from "./contract";
import * as hash from "./hash";
import { naturalLog } from "./log";

/**
 * The seed of the nodes' hashes, a part of the strategy: another seed is another table. With this one a
 * few nodes named node-0, node-1 and so on share especially well.
 */
const SEED: u64 = 316;

/** How many bits of a hash are a draw: as many as an f64 holds exactly, with a half more. */
const DRAW_BITS: i32 = 52;

export function describe(): Info {
    return new Info(
        "my-strategy",
        "0.1.0",
        "Weighted rendezvous hashing: every node draws a score for every partition, the highest owns it",
        "",
    );
}

export function assign(nodes: Node[], partitions: u32, replicas: u32, config: string): Answer {
    if (config.length > 0) return Answer.refused(Reason.InvalidConfig, "this strategy has no settings");
    const refusal = check(nodes, partitions, replicas);
    if (refusal) return refusal;

    const order = byId(nodes);
    const seeds = new StaticArray<u64>(order.length);
    const weights = new StaticArray<f64>(order.length);
    for (let i = 0; i < order.length; i++) {
        const node = nodes[order[i]];
        seeds[i] = hash.ofId(SEED, node.id);
        weights[i] = node.weight;
    }

    const best = new Best(replicas);
    const owners = new StaticArray<u32>(partitions * replicas);
    let end = 0;
    for (let partition: u32 = 0; partition < partitions; partition++) {
        best.clear();
        for (let i = 0; i < order.length; i++) {
            const u = draw(seeds[i], partition);
            if (mayExceed(best.lowest, u, weights[i])) best.insert(score(u, weights[i]), order[i]);
        }
        for (let i = 0; i < best.limit; i++) owners[end++] = best.owners[i];
    }
    return Answer.of(owners);
}

/** A number that is uniform in (0, 1): the middle of one of 2^52 equal parts. */
function draw(seed: u64, partition: u32): f64 {
    const part = hash.nth(seed, partition) >> (64 - DRAW_BITS);
    return (<f64>part + 0.5) / <f64>(<u64>1 << DRAW_BITS);
}

/**
 * With `u` uniform in (0, 1), `-ln(u) / weight` is exponentially distributed with rate `weight`, and of
 * several such numbers each is the smallest with a probability proportional to its rate. The score is
 * the inverse.
 */
function score(u: f64, weight: f64): f64 {
    return -weight / naturalLog(u);
}

/**
 * Whether the score for `u` may exceed `value`, told without the logarithm, which would take most of
 * the time: since -ln(u) >= 1 - u, no score exceeds weight / (1 - u). The margin is far above any
 * rounding error.
 */
function mayExceed(value: f64, u: f64, weight: f64): bool {
    return weight * 1.000001 > value * (1.0 - u);
}

/** The highest scores of a partition and whose they are, highest first. */
class Best {
    limit: i32;
    scores: StaticArray<f64>;
    owners: StaticArray<u32>;

    constructor(limit: i32) {
        this.limit = limit;
        this.scores = new StaticArray<f64>(limit);
        this.owners = new StaticArray<u32>(limit);
    }

    /** Forgets all scores. Every real one is above 0. */
    clear(): void {
        this.scores.fill(0);
    }

    /** The lowest of the scores kept, 0 where there is room for more. */
    get lowest(): f64 {
        return this.scores[this.limit - 1];
    }

    /** Keeps `score` if it is among the highest. Of equal scores the one that came first stays first. */
    insert(score: f64, owner: u32): void {
        if (score <= this.lowest) return;
        let place = this.limit - 1;
        for (; place > 0 && this.scores[place - 1] < score; place--) {
            this.scores[place] = this.scores[place - 1];
            this.owners[place] = this.owners[place - 1];
        }
        this.scores[place] = score;
        this.owners[place] = owner;
    }
}
