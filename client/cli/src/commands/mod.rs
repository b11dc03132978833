//! The commands: a file or folder each, with its arguments, its help and what it does.
//!
//! Besides them: `rebalancing`, what those have in common that move data, and `accepting`, what a strategy may
//! lack that one of them adopts.

mod accepting;
mod add_node;
mod bench;
mod completions;
mod delete;
mod explain;
mod export;
mod fsck;
mod get;
mod get_all;
mod import;
mod init;
mod lab;
mod locate;
mod migrate;
mod plan;
mod put;
mod rebalance;
mod rebalancing;
mod remove_node;
mod restore_layout;
mod set_node;
mod status;
mod strategy;
mod upgrade_layout;

pub(crate) use self::add_node::AddNode;
pub(crate) use self::bench::Bench;
pub(crate) use self::completions::Completions;
pub(crate) use self::delete::Delete;
pub(crate) use self::explain::Explain;
pub(crate) use self::export::Export;
pub(crate) use self::fsck::Fsck;
pub(crate) use self::get::Get;
pub(crate) use self::get_all::GetAll;
pub(crate) use self::import::Import;
pub(crate) use self::init::Init;
pub(crate) use self::lab::Lab;
pub(crate) use self::locate::Locate;
pub(crate) use self::migrate::Migrate;
pub(crate) use self::plan::Plan;
pub(crate) use self::put::Put;
pub(crate) use self::rebalance::Rebalance;
pub(crate) use self::remove_node::RemoveNode;
pub(crate) use self::restore_layout::RestoreLayout;
pub(crate) use self::set_node::SetNode;
pub(crate) use self::status::Status;
pub(crate) use self::strategy::Strategy;
pub(crate) use self::upgrade_layout::UpgradeLayout;
