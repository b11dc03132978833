// What lies between the host and src/strategy.ts: the exported functions, in the layout in which the
// component model passes the contract's types (its "canonical ABI"). There is nothing to change here.

import { Answer, Node, Reason } from "./contract";
import * as strategy from "./strategy";

// Where a node's fields are, and how many bytes it has: two strings of a pointer and a length each, with
// the weight between them.
const NODE_ID: usize = 0;
const NODE_WEIGHT: usize = 8;
const NODE_ZONE: usize = 12;
const NODE_BYTES: usize = 20;

/**
 * The host calls this for memory in which it puts the question. It never resizes what it has, and all
 * that is allocated here is aligned to 16 bytes.
 */
export function realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
    if (old != 0 || oldSize != 0 || align > 16) unreachable();
    return heap.alloc(size);
}

export function describe(): usize {
    const info = strategy.describe();
    const result = heap.alloc(32);
    storeText(result, info.name);
    storeText(result + 8, info.version);
    storeText(result + 16, info.summary);
    storeText(result + 24, info.settings);
    return result;
}

export function assign(
    nodes: usize, count: i32, partitions: u32, replicas: u32, config: usize, configLength: usize,
): usize {
    const list = new Array<Node>(count);
    for (let i = 0; i < count; i++) list[i] = loadNode(nodes + <usize>i * NODE_BYTES);
    const text = String.UTF8.decodeUnsafe(config, configLength);
    return storeAnswer(strategy.assign(list, partitions, replicas, text));
}

/** A failed assertion, such as an index out of range, ends the strategy. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
    unreachable();
}

function loadNode(node: usize): Node {
    const idLength = load<i32>(node + NODE_ID + 4);
    const id = new Uint8Array(idLength);
    memory.copy(id.dataStart, load<usize>(node + NODE_ID), idLength);
    const zone = String.UTF8.decodeUnsafe(load<usize>(node + NODE_ZONE), load<usize>(node + NODE_ZONE + 4));
    return new Node(id, load<u32>(node + NODE_WEIGHT), zone);
}

// An answer: 1 where it is refused; then from byte 4 on the table, or the reason's number and, from
// byte 8 on, what goes with it.
function storeAnswer(answer: Answer): usize {
    const result = heap.alloc(16);
    store<u8>(result, answer.reason == Reason.None ? 0 : 1);
    if (answer.reason == Reason.None) {
        store<usize>(result + 4, changetype<usize>(answer.owners));
        store<i32>(result + 8, answer.owners.length);
        return result;
    }
    store<u8>(result + 4, <u8>(answer.reason - Reason.TooFewNodes));
    if (answer.reason == Reason.TooFewNodes) store<u32>(result + 8, answer.needed);
    else storeText(result + 8, answer.why);
    return result;
}

function storeText(place: usize, text: string): void {
    const bytes = String.UTF8.encode(text);
    store<usize>(place, changetype<usize>(bytes));
    store<i32>(place + 4, bytes.byteLength);
}
