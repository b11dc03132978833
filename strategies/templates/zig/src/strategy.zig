//! Weighted rendezvous hashing, also known as highest random weight. This is the file to change.
//!
//! Every node draws a score for every partition, from a hash of the two; the nodes with the highest
//! scores own it. A node's scores do not depend on the other nodes, so when one comes or goes only its
//! own partitions move. (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! IEEE/ACM Transactions on Networking 6(1), 1998. The weights: Schindelhauer and Schomaker, "Weighted
//! distributed hash tables", SPAA 2005, the logarithmic method.)

const std = @import("std");
const contract = @import("contract.zig");
const hash = @import("hash.zig");
const naturalLog = @import("log.zig").naturalLog;

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table. With this one a
/// few nodes named node-0, node-1 and so on share especially well.
const seed = 316;

/// How many bits of a hash are a draw: as many as an f64 holds exactly, with a half more.
const draw_bits = 52;

/// A node that draws.
const Candidate = struct { seed: u64, weight: f64, index: u32 };

/// A node's score for a partition.
const Score = struct { value: f64, owner: u32 };

pub fn describe() contract.Info {
    const summary = "Weighted rendezvous hashing: every node draws a score for every partition, " ++
        "the highest owns it";
    return .{
        .name = .of("my-strategy"),
        .version = .of("0.1.0"),
        .summary = .of(summary),
        .settings = .of(""),
    };
}

/// What is allocated is given back when the answer has been read, so there is nothing to free.
pub fn assign(allocator: std.mem.Allocator, question: contract.Question) !contract.Answer {
    if (question.config.len > 0) return .{ .invalid_config = "this strategy has no settings" };
    const by_id = try contract.byId(allocator, question.nodes);
    if (contract.check(question, by_id)) |refusal| return refusal;

    const candidates = try allocator.alloc(Candidate, by_id.len);
    for (candidates, by_id) |*candidate, index| {
        const node = question.nodes[index];
        candidate.* = .{
            .seed = hash.ofBytes(seed, node.id.slice()),
            .weight = @floatFromInt(node.weight),
            .index = index,
        };
    }

    const best = try allocator.alloc(Score, question.replicas);
    const owners = try allocator.alloc(u32, question.partitions * question.replicas);
    for (0..question.partitions) |partition| {
        // Every real score is above 0.
        @memset(best, .{ .value = 0, .owner = 0 });
        for (candidates) |candidate| {
            const u = draw(candidate.seed, @intCast(partition));
            if (mayExceed(best[best.len - 1].value, u, candidate.weight))
                insert(best, .{ .value = score(u, candidate.weight), .owner = candidate.index });
        }
        for (owners[partition * best.len ..][0..best.len], best) |*owner, one| owner.* = one.owner;
    }
    return .{ .owners = owners };
}

/// A number that is uniform in (0, 1): the middle of one of 2^52 equal parts.
fn draw(node_seed: u64, partition: u32) f64 {
    const part: f64 = @floatFromInt(hash.nth(node_seed, partition) >> (64 - draw_bits));
    return (part + 0.5) / (1 << draw_bits);
}

/// With `u` uniform in (0, 1), `-ln(u) / weight` is exponentially distributed with rate `weight`, and of
/// several such numbers each is the smallest with a probability proportional to its rate. The score is
/// the inverse.
fn score(u: f64, weight: f64) f64 {
    return -weight / naturalLog(u);
}

/// Whether the score for `u` may exceed `value`, told without the logarithm, which would take most of
/// the time: since -ln(u) >= 1 - u, no score exceeds weight / (1 - u). The margin is far above any
/// rounding error.
fn mayExceed(value: f64, u: f64, weight: f64) bool {
    return weight * 1.000001 > value * (1.0 - u);
}

/// Keeps the highest scores, highest first. Of equal scores the one that came first stays first.
fn insert(best: []Score, new: Score) void {
    var place = best.len;
    while (place > 0 and best[place - 1].value < new.value) place -= 1;
    if (place == best.len) return;
    std.mem.copyBackwards(Score, best[place + 1 ..], best[place .. best.len - 1]);
    best[place] = new;
}
