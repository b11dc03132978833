//! What lies between the host and strategy.zig: memory and the exported functions. There is nothing to
//! change here.

const std = @import("std");
const contract = @import("contract.zig");
const strategy = @import("strategy.zig");

const Text = contract.Text;

/// Everything that one question needs. It is given back at once, when the answer has been read.
var memory = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);

/// The canonical ABI's layout of an answer.
const Result = extern struct {
    refused: u8,
    payload: extern union {
        owners: extern struct { start: [*]const u32, count: usize },
        refusal: extern struct { reason: u8, payload: extern union { needed: u32, why: Text } },
    },
};

comptime {
    std.debug.assert(@sizeOf(contract.Node) == 20);
    std.debug.assert(@sizeOf(contract.Info) == 32);
    std.debug.assert(@sizeOf(Result) == 16);
    @export(&describe, .{ .name = "kv:placement/strategy@0.2.0#describe" });
    @export(&assign, .{ .name = "kv:placement/strategy@0.2.0#assign" });
    @export(&assignDone, .{ .name = "cabi_post_kv:placement/strategy@0.2.0#assign" });
    @export(&realloc, .{ .name = "cabi_realloc" });
}

var info: contract.Info = undefined;
var result: Result = undefined;

fn describe() callconv(.c) *const contract.Info {
    info = strategy.describe();
    return &info;
}

fn assign(
    nodes: [*]const contract.Node,
    count: usize,
    partitions: u32,
    replicas: u32,
    config: [*]const u8,
    config_length: usize,
) callconv(.c) *const Result {
    const question: contract.Question = .{
        .nodes = nodes[0..count],
        .partitions = partitions,
        .replicas = replicas,
        .config = config[0..config_length],
    };
    const answer = strategy.assign(memory.allocator(), question) catch @panic("out of memory");
    result = switch (answer) {
        .owners => |owners| .{
            .refused = 0,
            .payload = .{ .owners = .{ .start = owners.ptr, .count = owners.len } },
        },
        .too_few_nodes => |needed| refused(0, .{ .needed = needed }),
        .invalid_config => |why| refused(1, .{ .why = Text.of(why) }),
        .unsupported => |why| refused(2, .{ .why = Text.of(why) }),
    };
    return &result;
}

fn refused(reason: u8, payload: anytype) Result {
    var refusal: Result = .{ .refused = 1, .payload = undefined };
    refusal.payload = .{ .refusal = .{ .reason = reason, .payload = undefined } };
    if (@hasField(@TypeOf(payload), "needed"))
        refusal.payload.refusal.payload = .{ .needed = payload.needed }
    else
        refusal.payload.refusal.payload = .{ .why = payload.why };
    return refusal;
}

/// The host calls this when it has read the answer.
fn assignDone(_: *const Result) callconv(.c) void {
    _ = memory.reset(.free_all);
}

/// The host calls this for memory in which it puts the question. It never resizes what it has.
fn realloc(old: usize, old_size: usize, alignment: usize, size: usize) callconv(.c) [*]u8 {
    if (old != 0 or old_size != 0 or alignment > 16) @panic("the host resizes nothing");
    // Nothing, too, has to be at a place that exists, which Zig's allocators do not care for.
    const bytes = memory.allocator().alignedAlloc(u8, .@"16", @max(size, 1)) catch
        @panic("out of memory");
    return bytes.ptr;
}
