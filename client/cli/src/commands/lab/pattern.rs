//! Values for nodes: some that go round, and some for single nodes.

use kv_placement::StrategyNode;

/// Values that go round over all nodes, and values for single ones, which win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern<T> {
    round: Vec<T>,
    single: Vec<(String, T)>,
}

/// Reads `VALUE` and `ID=VALUE`, with commas between them.
pub(super) fn parse_pattern<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Pattern<T>, String> {
    let mut pattern = Pattern { round: Vec::new(), single: Vec::new() };
    for item in text.split(',') {
        match item.split_once('=') {
            Some((id, value)) => pattern.single.push((id.to_owned(), parse(value)?)),
            None => pattern.round.push(parse(item)?),
        }
    }
    Ok(pattern)
}

impl<T> Pattern<T> {
    /// Sets the value of every node that the pattern has one for.
    ///
    /// # Errors
    /// It has a value for a node that is not there. `option` is where the user wrote that.
    pub(super) fn apply(
        &self,
        option: &str,
        nodes: &mut [&mut StrategyNode],
        set: impl Fn(&mut StrategyNode, &T),
    ) -> Result<(), String> {
        for (node, value) in nodes.iter_mut().zip(self.round.iter().cycle()) {
            set(node, value);
        }
        for (id, value) in &self.single {
            let node = nodes.iter_mut().find(|node| node.id == *id);
            let node = node.ok_or_else(|| {
                format!("{option} names {id}, which is not among the nodes that it describes")
            })?;
            set(node, value);
        }
        Ok(())
    }
}
