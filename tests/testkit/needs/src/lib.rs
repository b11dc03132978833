//! `#[needs(...)]` on a test case that needs what not every machine has.
//!
//! Where that is missing when the tests are built, the case is ignored and says what it needs, so that
//! `cargo test` counts it among those that did not run. `cargo test -- --include-ignored` runs it all the
//! same, and it fails then.
//!
//! ```text
//! #[needs(consul)]
//! #[test]
//! fn a_real_consul_at_its_port_is_used() { ... }
//! ```
//!
//! `build.rs` lists the needs, and looks for each. It looks again when a variable changes that it reads:
//! `CONSUL_BIN`, `KV_BUILD_TEMPLATES`, `KV_SLIM_EXAMPLE`, `KV_STRATEGIES_REBUILT`, and `KV_REQUIRE_<NEED>` of every need. The last kind is set to 1
//! where the tests must not pass without it, as in CI: then the build fails where it is missing.

use proc_macro::{Delimiter, TokenStream, TokenTree};

include!(concat!(env!("OUT_DIR"), "/needs.rs"));

/// Has the case ignored if the need that it names was missing when the tests were built.
///
/// It stands before `#[test]`, or `#[tokio::test]`, which would otherwise not see that the case is ignored.
#[proc_macro_attribute]
pub fn needs(name: TokenStream, case: TokenStream) -> TokenStream {
    let name = name.to_string();
    let Some((_, missing)) = NEEDS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = NEEDS.iter().map(|(known, _)| *known).collect();
        return error(&format!("`{name}` is none of the needs, which are: {}", known.join(", ")));
    };
    if !is_followed_by_test(case.clone()) {
        return error("`#[needs(...)]` stands before `#[test]`");
    }
    let mut marked = missing.map(|it| code(&format!("#[ignore = {it:?}]"))).unwrap_or_default();
    marked.extend(case);
    marked
}

/// Whether one of the attributes that the case begins with makes it a test.
fn is_followed_by_test(case: TokenStream) -> bool {
    let mut tokens = case.into_iter();
    while let (Some(TokenTree::Punct(_)), Some(TokenTree::Group(attribute))) =
        (tokens.next(), tokens.next())
    {
        let mut path = attribute.stream().into_iter().take_while(|it| !is_arguments(it));
        if path.by_ref().last().is_some_and(|last| last.to_string() == "test") {
            return true;
        }
    }
    false
}

fn is_arguments(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis)
}

fn error(text: &str) -> TokenStream {
    code(&format!("::core::compile_error!({text:?});"))
}

fn code(text: &str) -> TokenStream {
    text.parse().expect("what is written here is Rust")
}
