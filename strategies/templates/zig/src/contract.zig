//! The contract of wit/placement.wit in Zig, and its limits.
//!
//! On wasm32 the extern types have exactly the layout in which the component model passes the contract's
//! types (its "canonical ABI"), so nothing is converted: a list is a pointer and a count, a string is a
//! list of bytes of UTF-8.

const std = @import("std");

pub const partitions_max = 65536;
pub const replicas_max = 64;
pub const weight_max = 256;
pub const id_bytes_max = 64;

/// A string.
pub const Text = extern struct {
    start: [*]const u8,
    length: usize,

    pub fn of(bytes: []const u8) Text {
        return .{ .start = bytes.ptr, .length = bytes.len };
    }

    pub fn slice(text: Text) []const u8 {
        return text.start[0..text.length];
    }
};

/// A node that may own partitions.
pub const Node = extern struct {
    id: Text,
    weight: u32,
    zone: Text,
};

/// What a strategy says of itself.
pub const Info = extern struct {
    name: Text,
    version: Text,
    summary: Text,
    /// What the configuration text may say, empty where there are no settings.
    settings: Text,
};

/// A question: who owns each of the partitions?
pub const Question = struct {
    nodes: []const Node,
    partitions: u32,
    replicas: u32,
    config: []const u8,
};

/// An answer: `replicas` indexes into the nodes for each partition in turn, the best owner first; or why
/// there is none.
pub const Answer = union(enum) {
    owners: []const u32,
    too_few_nodes: u32,
    invalid_config: []const u8,
    unsupported: []const u8,
};

/// Refuses a question that the contract does not allow; null where there is nothing to refuse. `by_id`
/// is what `byId` gave.
pub fn check(question: Question, by_id: []const u32) ?Answer {
    const partitions = question.partitions;
    if (partitions > partitions_max or @popCount(partitions) != 1)
        return .{ .unsupported = "expected a power of two of partitions from 1 to 65536" };
    if (question.replicas == 0 or question.replicas > replicas_max)
        return .{ .unsupported = "expected 1 to 64 replicas" };
    if (question.nodes.len < question.replicas)
        return .{ .too_few_nodes = question.replicas };
    for (question.nodes) |node| {
        if (node.weight == 0 or node.weight > weight_max)
            return .{ .unsupported = "expected weights from 1 to 256" };
        if (node.id.length == 0 or node.id.length > id_bytes_max)
            return .{ .unsupported = "expected ids of 1 to 64 bytes" };
    }
    for (by_id[0 .. by_id.len - 1], by_id[1..]) |one, next| {
        if (std.mem.eql(u8, question.nodes[one].id.slice(), question.nodes[next].id.slice()))
            return .{ .unsupported = "two nodes have the same id" };
    }
    return null;
}

/// The nodes' indexes in the order of their ids. A strategy that goes by it does not depend on the order
/// in which it got the nodes.
pub fn byId(allocator: std.mem.Allocator, nodes: []const Node) ![]u32 {
    const order = try allocator.alloc(u32, nodes.len);
    for (order, 0..) |*index, i| index.* = @intCast(i);
    std.sort.heap(u32, order, nodes, comesBefore);
    return order;
}

fn comesBefore(nodes: []const Node, one: u32, other: u32) bool {
    return std.mem.lessThan(u8, nodes[one].id.slice(), nodes[other].id.slice());
}
