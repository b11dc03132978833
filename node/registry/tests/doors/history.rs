use kv_core::layout::Layout;
use kv_registry::history::PAST_LAYOUTS_MAX;
use uuid::Uuid;

use crate::support::{installed, layout, open};

#[tokio::test]
async fn past_layouts_are_kept_in_order_and_not_without_end() {
    let it = open().await;
    let last = PAST_LAYOUTS_MAX as u64 + 3;
    for epoch in 1..=last {
        it.registry.keep_past_layout(&layout(epoch, 0)).await.unwrap();
    }
    let past = it.registry.past_layouts_of(layout(1, 0).cluster, last).await.unwrap();
    let epochs: Vec<u64> = past.iter().map(|it| it.epoch).collect();
    assert_eq!(epochs, (4..last).collect::<Vec<_>>(), "those before the last, the oldest are gone");
    assert!(it.registry.past_layouts_of(Uuid::from_u128(1), last).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_that_cannot_be_read_hides_no_other() {
    let it = open().await;
    it.registry.keep_past_layout(&layout(1, 0)).await.unwrap();
    it.consul.kv_put("kv/c/history/00000000000000000002", b"{}").await.unwrap();
    let all = it.registry.past_layouts().await.unwrap();
    assert_eq!(all.iter().map(|it| it.layout.is_ok()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(all[1].key, "kv/c/history/00000000000000000002");
    let past = it.registry.past_layouts_of(layout(1, 0).cluster, 9).await.unwrap();
    assert_eq!(past, [layout(1, 0)]);
}

#[tokio::test]
async fn a_node_puts_its_own_in_the_place_of_what_others_have_put_there() {
    let it = open().await;
    let forged = Layout { cluster: Uuid::from_u128(1), ..layout(3, 0) };
    it.registry.keep_past_layout(&forged).await.unwrap();
    for _ in 0..2 {
        it.registry.keep_installed(&installed(3, 0)).await.unwrap();
        let past = it.registry.past_layouts_of(layout(3, 0).cluster, 9).await.unwrap();
        assert_eq!(past, [layout(3, 0)]);
    }
}
