//! Components that are short, and much work to compile: a compiler's weak spots, one at a time.

use std::fmt::Write;

/// The text of a component that has more of what its kind is made of, the larger `size` is.
pub type Bomb = fn(size: usize) -> String;

/// All kinds.
pub const BOMBS: [(&str, Bomb); 21] = [
    ("instructions", |size| functions(size, 500, store)),
    ("one long function", |size| functions(size, usize::MAX, store)),
    ("live variables", |size| functions(size, 500, live)),
    ("branches", |size| functions(size, 200, |_| "(block (br_if 0 (local.get 0)))".to_owned())),
    ("loops", |size| functions(size, 200, |_| LOOP.to_owned())),
    ("loops of variables", |size| functions(size, 200, loop_of_variables)),
    ("one function of loops", |size| functions(size, usize::MAX, loop_of_variables)),
    ("one function of values", |size| functions(size, usize::MAX, live)),
    ("one function of jumps", |size| functions(size, usize::MAX, |_| jump_table(500))),
    ("loops in loops", |size| functions(size, 1, |_| nested("loop", 100))),
    ("blocks in blocks", |size| functions(size, 1, |_| nested("block", 100))),
    ("jump tables", |size| functions(size, 1, |_| jump_table(500))),
    ("blocks of many values", |size| functions(size, 50, |_| wide_block(60))),
    ("calls", |size| functions(size, 500, |_| "(call 0 (local.get 0) (local.get 1))".to_owned())),
    ("calls through a table", |size| functions(size, 200, |_| INDIRECT.to_owned())),
    ("fills of memory", |size| functions(size, 200, |_| FILL.to_owned())),
    ("small functions", |size| fields(size, |_| "(func)".to_owned())),
    ("exports", |size| fields(size, |n| format!("(export \"e{n}\" (func 0))"))),
    ("segments of data", |size| fields(size, |_| "(data (i32.const 0) \"a\")".to_owned())),
    ("segments of functions", |size| fields(size, |_| format!("(elem func {})", "0 ".repeat(50)))),
    ("types", |size| fields(size, |n| format!("(type (func (param {})))", digits(n)))),
];

const LOOP: &str = "(loop (br_if 0 (local.get 0)))";
const INDIRECT: &str = "(call_indirect (type 0) (local.get 0) (local.get 1) (i32.const 0))";
const FILL: &str = "(memory.fill (local.get 0) (local.get 1) (local.get 2))";
/// The local variables of each function, after two parameters.
const LOCALS: usize = 60;

/// A component of one module, whose functions have `per_function` pieces of code each.
fn functions(size: usize, per_function: usize, piece: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    let mut number = 0;
    while number < size {
        let end = size.min(number.saturating_add(per_function));
        write!(text, "(func (type 0) (local {}) ", "i32 ".repeat(LOCALS))
            .expect("text can be longer");
        for number in number..end {
            text.push_str(&piece(number));
        }
        text.push_str(")\n");
        number = end;
    }
    module(&text)
}

fn fields(size: usize, field: impl Fn(usize) -> String) -> String {
    module(&(0..size).map(field).collect::<Vec<_>>().join("\n"))
}

fn module(fields: &str) -> String {
    format!(
        "(component (core module (type (func (param i32 i32))) (memory 1) (table 1 funcref) \
         (func (type 0)) {fields}))"
    )
}

fn store(number: usize) -> String {
    let offset = number * 8;
    format!(
        "(i64.store offset={offset} (local.get 0) (i64.mul (i64.load offset={offset} (local.get 1)) \
         (i64.const {number})))"
    )
}

/// All variables are wanted until the end, so that they do not fit into registers.
fn live(number: usize) -> String {
    let local = |n: usize| 2 + n % LOCALS;
    let (a, b, c) = (local(number * 7), local(number * 13 + 5), local(number * 29 + 11));
    format!(
        "(local.set {a} (i32.add (local.get {b}) (i32.load offset={number} (local.get {c})))) \
         (i32.store offset={number} (local.get {b}) (local.get {a}))"
    )
}

fn loop_of_variables(number: usize) -> String {
    let (a, b) = (2 + number * 7 % LOCALS, 2 + (number * 13 + 1) % LOCALS);
    format!(
        "(block (loop (br_if 1 (local.get {a})) \
         (local.set {b} (i32.mul (local.get {a}) (i32.load (local.get {b})))) \
         (br_if 0 (local.get {b}))))"
    )
}

fn nested(kind: &str, depth: usize) -> String {
    let open = format!("({kind} (local.set 5 (i32.load (local.get 4))) (br_if 0 (local.get 3)) ");
    format!("{}{}", open.repeat(depth), ")".repeat(depth))
}

fn jump_table(targets: usize) -> String {
    let labels: Vec<_> = (0..targets).map(|n| (n % 20).to_string()).collect();
    format!(
        "{}(br_table {} (local.get 0)){}",
        "(block ".repeat(20),
        labels.join(" "),
        ")".repeat(20)
    )
}

/// Values that are handed into a block, which costs one instruction.
fn wide_block(values: usize) -> String {
    let types = "i32 ".repeat(values);
    let push: String = (0..values).map(|n| format!("(local.get {})", n % LOCALS)).collect();
    format!(
        "{push} {} {}",
        format!("(loop (param {types}) (result {types}) (br_if 0 (local.get 3)))").repeat(20),
        "drop ".repeat(values)
    )
}

fn digits(number: usize) -> String {
    (0..16).map(|bit| if number >> bit & 1 == 1 { "i32 " } else { "i64 " }).collect()
}
