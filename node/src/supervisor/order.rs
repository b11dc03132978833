//! Which node is to be started, and what starts it.

use kv_core::name::Name;

/// A node to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: Name,
    /// How it is to be; with `None`, the node is what it was, or what nodes are by default.
    pub described: Option<Described>,
}

/// The weight and zone of a node, as a desired state has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its capacity relative to other nodes.
    pub weight: u32,
    /// Its failure domain, such as a rack.
    pub zone: String,
}

impl Order {
    /// The options that have a node started as it is ordered.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let mut options = vec!["--id".to_owned(), self.id.to_string()];
        if let Some(Described { weight, zone }) = &self.described {
            options.extend([format!("--weight={weight}"), format!("--zone={zone}")]);
        }
        options
    }
}

/// What starts nodes.
pub trait Start {
    /// Starts a node. The future ends when there is nothing more to tell about it.
    ///
    /// # Errors
    /// Why it does not run, for people.
    fn start(&self, order: Order) -> impl Future<Output = Result<(), String>> + Send + 'static;
}
