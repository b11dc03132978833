// The contract of wit/placement.wit in AssemblyScript, and its limits.

export const PARTITIONS_MAX: u32 = 65536;
export const REPLICAS_MAX: u32 = 64;
export const WEIGHT_MAX: u32 = 256;
export const ID_BYTES_MAX: i32 = 64;

/** A node that may own partitions. */
export class Node {
    constructor(
        /** The id, as bytes of UTF-8, which is how it is hashed and compared. */
        public id: Uint8Array,
        public weight: u32,
        public zone: string,
    ) {}
}

/** What a strategy says of itself; `settings` is what the configuration text may say, or empty. */
export class Info {
    constructor(
        public name: string, public version: string, public summary: string, public settings: string,
    ) {}
}

/** Why a strategy cannot answer. */
export enum Reason {
    None,
    TooFewNodes,
    InvalidConfig,
    Unsupported,
}

/** A table of owners, or why there is none. */
export class Answer {
    reason: Reason = Reason.None;
    /** With `TooFewNodes`: how many are needed. */
    needed: u32 = 0;
    /** With the other reasons: what is wrong. */
    why: string = "";
    /** `replicas` indexes into the nodes for each partition in turn, the best owner first. */
    owners: StaticArray<u32> = new StaticArray<u32>(0);

    static of(owners: StaticArray<u32>): Answer {
        const answer = new Answer();
        answer.owners = owners;
        return answer;
    }

    static tooFewNodes(needed: u32): Answer {
        const answer = new Answer();
        answer.reason = Reason.TooFewNodes;
        answer.needed = needed;
        return answer;
    }

    static refused(reason: Reason, why: string): Answer {
        const answer = new Answer();
        answer.reason = reason;
        answer.why = why;
        return answer;
    }
}

/** Refuses a question that the contract does not allow. Null where there is nothing to refuse. */
export function check(nodes: Node[], partitions: u32, replicas: u32): Answer | null {
    if (partitions == 0 || partitions > PARTITIONS_MAX || popcnt(partitions) != 1) {
        return unsupported(`${partitions} partitions, expected a power of two from 1 to ${PARTITIONS_MAX}`);
    }
    if (replicas == 0 || replicas > REPLICAS_MAX) {
        return unsupported(`${replicas} replicas, expected 1 to ${REPLICAS_MAX}`);
    }
    if (<u32>nodes.length < replicas) return Answer.tooFewNodes(replicas);
    for (let i = 0; i < nodes.length; i++) {
        const node = nodes[i];
        if (node.weight == 0 || node.weight > WEIGHT_MAX) {
            return unsupported(`a node of weight ${node.weight}, expected 1 to ${WEIGHT_MAX}`);
        }
        if (node.id.length == 0 || node.id.length > ID_BYTES_MAX) {
            return unsupported(`an id of ${node.id.length} bytes, expected 1 to ${ID_BYTES_MAX}`);
        }
    }
    const order = byId(nodes);
    for (let i = 1; i < order.length; i++) {
        if (compare(nodes[order[i - 1]].id, nodes[order[i]].id) == 0) {
            return unsupported("two nodes of the same id");
        }
    }
    return null;
}

/**
 * The nodes' indexes in the order of their ids. A strategy that goes by it does not depend on the order
 * in which it got the nodes.
 */
export function byId(nodes: Node[]): u32[] {
    // A comparison cannot see the nodes, so what is sorted are the nodes with their indexes.
    const places = new Array<Place>(nodes.length);
    for (let i = 0; i < nodes.length; i++) places[i] = new Place(nodes[i].id, i);
    places.sort((one, other) => compare(one.id, other.id));
    const order = new Array<u32>(nodes.length);
    for (let i = 0; i < nodes.length; i++) order[i] = places[i].index;
    return order;
}

class Place {
    constructor(public id: Uint8Array, public index: u32) {}
}

/** Less than, equal to or greater than 0, as the one id comes before, is, or comes after the other. */
function compare(one: Uint8Array, other: Uint8Array): i32 {
    const shorter = min(one.length, other.length);
    for (let i = 0; i < shorter; i++) {
        if (one[i] != other[i]) return <i32>one[i] - <i32>other[i];
    }
    return one.length - other.length;
}

function unsupported(why: string): Answer {
    return Answer.refused(Reason.Unsupported, why);
}
