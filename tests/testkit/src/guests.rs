//! Makes components of the hostile guests in `tests/guests`; its README says what each one does.

use std::fs;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The version of the contract that the guests are written for.
pub const NEWEST: &str = "0.2.0";
/// Every version of the contract, and where it is.
const CONTRACTS: [(&str, &str); 2] = [("0.1.0", "wit/0.1.0"), (NEWEST, "wit")];

const DESCRIBE: &str = r#"(func (export "kv:placement/strategy@0.2.0#describe") (result i32)
    (i32.const 600))"#;
const ALLOCATOR: &str = r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $alloc (local.get 3)))"#;

/// The bytes of a guest's component.
///
/// # Panics
/// Where there is no such guest, or its source is wrong.
pub fn component(name: &str) -> Vec<u8> {
    component_for(name, NEWEST)
}

/// The bytes of a guest's component, built against this version of the contract.
///
/// # Panics
/// Where there is no such guest or version, or its source is wrong.
pub fn component_for(name: &str, contract: &str) -> Vec<u8> {
    let mut module = core_module(name, contract);
    let mut resolve = Resolve::default();
    let packages = CONTRACTS.map(|(version, folder)| {
        (version, resolve.push_path(root().join(folder)).expect("the contract is valid").0)
    });
    let wanted = packages.iter().find(|(version, _)| *version == contract);
    let mut package = wanted.expect("there is such a version").1;
    let own = root().join("tests/guests").join(format!("{name}.wit"));
    if own.exists() {
        // Another contract stands alone where it has the contract's own name.
        let text = fs::read_to_string(&own).expect("the guest's contract is readable");
        let text = text_for(&text, contract);
        if text.contains("package kv:placement@") {
            resolve = Resolve::default();
        }
        package = resolve.push_str(&own, &text).expect("the guest's contract is valid");
    }
    let world = resolve.select_world(&[package], None).expect("it has one world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("the contract can be embedded");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(ComponentEncoder::encode)
        .unwrap_or_else(|error| panic!("guest {name} cannot be made a component: {error:#}"))
}

/// The names of all guests.
pub fn names() -> Vec<String> {
    let files = fs::read_dir(root().join("tests/guests")).expect("the folder of guests is there");
    let name = |entry: fs::DirEntry| {
        let file = entry.file_name().into_string().expect("their names are text");
        file.strip_suffix(".wat").filter(|name| *name != "common").map(str::to_owned)
    };
    let mut names: Vec<_> =
        files.filter_map(|it| name(it.expect("the folder is readable"))).collect();
    names.sort();
    names
}

/// The bytes of a guest's core module, for this version of the contract.
///
/// # Panics
/// Where there is no such guest, or its source is wrong.
pub fn core_module(name: &str, contract: &str) -> Vec<u8> {
    let text = text_for(&text(name), contract);
    wat::parse_str(&text).unwrap_or_else(|error| panic!("guest {name}: {error}"))
}

/// What `text` says of the newest contract, said of `contract`.
fn text_for(text: &str, contract: &str) -> String {
    ["kv:placement/strategy@", "package kv:placement@"]
        .iter()
        .fold(text.to_owned(), |text, name| {
            text.replace(&format!("{name}{NEWEST}"), &format!("{name}{contract}"))
        })
}

/// The text of a guest's core module.
fn text(name: &str) -> String {
    let read = |name: &str| {
        let path = root().join("tests/guests").join(format!("{name}.wat"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let guest = read(name);
    if guest.starts_with("(module") {
        guest
    } else {
        let has = |export: &str| guest.contains(export);
        let describe = if has("#describe\"") { "" } else { DESCRIBE };
        let allocator = if has("\"cabi_realloc\"") { "" } else { ALLOCATOR };
        // Imports come first in a module.
        let (imports, rest): (Vec<&str>, Vec<&str>) =
            guest.lines().partition(|line| line.starts_with("(import"));
        let parts = [&imports.join("\n"), &read("common"), describe, allocator, &rest.join("\n")];
        format!("(module\n{}\n)", parts.map(str::to_owned).join("\n"))
    }
}

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
