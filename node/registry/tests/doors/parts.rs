use kv_consul::Read;
use kv_core::digest::Digest;
use kv_registry::parts::Part;

use crate::support::{STRATEGY, installed, layout, open, table};

#[tokio::test]
async fn a_part_is_whole_or_damaged_or_missing() {
    let it = open().await;
    let digest = Digest::of(STRATEGY);
    let key = format!("kv/c/strategies/{digest}");
    let missing = Part::Missing { key: key.clone() };
    assert_eq!(it.registry.strategy(&digest).await.unwrap(), missing);
    assert_eq!(it.registry.put_strategy(STRATEGY, 0).await.unwrap(), digest);
    let whole = Part::Whole(STRATEGY.to_vec());
    assert_eq!(it.registry.strategy(&digest).await.unwrap(), whole);
    it.consul.kv_put(&key, b"something else").await.unwrap();
    let damaged = Part::Damaged(b"something else".to_vec());
    assert_eq!(it.registry.strategy(&digest).await.unwrap(), damaged);
    it.registry.restore_parts(&installed(1, 0)).await.unwrap();
    assert_eq!(it.registry.strategy(&digest).await.unwrap(), whole);
    let table_bytes = Part::Whole(table(0).to_bytes());
    assert_eq!(it.registry.table(&table(0).digest()).await.unwrap(), table_bytes);
}

#[tokio::test]
async fn what_nothing_names_goes_once_a_layout_was_published_after_it() {
    let it = open().await;
    for owner in [0, 1] {
        it.registry.put_table(&table(owner), 0).await.unwrap();
    }
    it.registry.put_strategy(STRATEGY, 0).await.unwrap();
    it.registry.put_strategy(b"of no use", 0).await.unwrap();
    let first = layout(1, 0);
    it.registry.create_layout(&first).await.unwrap();
    it.registry.put_strategy(b"just written", 1).await.unwrap();
    let spared = [&first.placement, &layout(1, 1).placement];
    it.registry.collect_garbage(spared).await.unwrap();
    let there = async |bytes: &[u8]| {
        matches!(it.registry.strategy(&Digest::of(bytes)).await.unwrap(), Part::Whole(_))
    };
    assert!(there(STRATEGY).await && there(b"just written").await && !there(b"of no use").await);
    let tables = it.consul.kv_keys("kv/c/tables/", Read::default()).await.unwrap().value;
    assert_eq!(tables.len(), 2, "one of them is spared");
    // Written again for a rebalance that is about to begin, it is young, however old it was before.
    it.registry.put_table(&table(1), 1).await.unwrap();
    it.registry.collect_garbage([&first.placement; 2]).await.unwrap();
    let tables = it.consul.kv_keys("kv/c/tables/", Read::default()).await.unwrap().value;
    assert_eq!(tables.len(), 2);
}
