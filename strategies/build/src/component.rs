//! From core module to component.
//!
//! This is the only file that names wit-component.

use anyhow::{Context, Result, bail, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

/// The one export of a strategy: the interface and its version, as in `wit/placement.wit`.
const EXPORT: &str = "kv:placement/strategy@0.2.0";

/// Makes a component of a core module that was compiled against the contract, and checks it.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(ComponentEncoder::encode)
        .context("cannot make a component of it; does its lib.rs call kv_strategy::export!?")?;
    check(&component)?;
    Ok(component)
}

/// Refuses a component with any import, or whose exports are not the contract's.
fn check(component: &[u8]) -> Result<()> {
    let decoded = wit_component::decode(component).context("cannot read the component back")?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        bail!("it is a package of interfaces, not a component");
    };
    let world = &resolve.worlds[world];
    let names = |items: Vec<String>| items.join(", ");
    let imports: Vec<_> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    ensure!(
        imports.is_empty(),
        "it imports {}, but a strategy must import nothing; remove what needs time, randomness, \
         files or the network",
        names(imports)
    );
    let exports: Vec<_> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    ensure!(exports == [EXPORT], "it exports {}, expected {EXPORT} alone", names(exports));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a component of these items in the text format.
    fn check_text(items: &str) -> Result<()> {
        check(&wat::parse_str(format!("(component {items})")).unwrap())
    }

    const INTERFACE: &str = r#"(instance $i) (export "kv:placement/strategy@0.2.0" (instance $i))"#;

    #[test]
    fn only_the_contracts_export_is_allowed() {
        check_text(INTERFACE).unwrap();
        let missing = check_text("").unwrap_err().to_string();
        assert!(missing.contains(EXPORT), "{missing}");
        let more = format!(r#"{INTERFACE} (export "kv:other/thing@0.1.0" (instance $i))"#);
        let more = check_text(&more).unwrap_err().to_string();
        assert!(more.contains("kv:other/thing@0.1.0"), "{more}");
    }

    #[test]
    fn an_import_is_refused_by_name() {
        let text = format!(r#"(import "wasi:clocks/wall-clock@0.2.0" (instance)) {INTERFACE}"#);
        let message = check_text(&text).unwrap_err().to_string();
        assert!(message.contains("wasi:clocks/wall-clock@0.2.0"), "{message}");
    }

    #[test]
    fn a_module_of_another_kind_is_told_what_is_missing() {
        let empty = wat::parse_str("(module)").unwrap();
        for module in [b"not wasm".as_slice(), &empty] {
            let message = format!("{:#}", encode(module).unwrap_err());
            assert!(message.contains("expected") || message.contains("export!"), "{message}");
        }
    }
}
