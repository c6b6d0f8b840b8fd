// SPDX-License-Identifier: GPL-2.0

//! What a backend offers in its nodes, and what becomes of it.

use proptest::prelude::*;
use xensock_hosttest::proto::{
    node::{
        has_version_1,
        Offer, //
    },
    ring::Order,
    Dialect,
    Feature,
    Features, //
};

use Dialect::{
    PvCalls,
    XenSock, //
};

#[test]
fn offers() {
    let read = |dialect, versions: &[u8], order, calls| {
        Offer::read(dialect, versions, order, calls, Features::NONE).map(|o| o.max_order.get())
    };

    assert_eq!(read(XenSock, b"1", 9, None), Some(9));
    assert_eq!(read(XenSock, b"2", 4, None), None);
    assert_eq!(read(XenSock, b"1", 0, None), None);
    assert_eq!(read(XenSock, b"1", u32::MAX, None), Some(9));
    assert_eq!(read(PvCalls, b"1", 4, Some(1)), Some(4));
    assert_eq!(read(PvCalls, b"1", 4, Some(0)), None);
    assert_eq!(read(PvCalls, b"1", 4, None), None);

    assert!(has_version_1(b"1,2"));
    assert!(has_version_1(b"2, 1 "));
    for none in [&b""[..], b"11", b"2", b"1.0", b",", b"01"] {
        assert!(!has_version_1(none));
    }
}

#[test]
fn features_have_nodes() {
    let mut nodes: Vec<_> = Feature::ALL
        .into_iter()
        .flat_map(|f| [f.offered(), f.taken()])
        .collect();

    for feature in Feature::ALL {
        let offered = feature.offered().to_str().unwrap();
        assert_eq!(
            offered.strip_prefix("feature-"),
            feature.taken().to_str().ok()
        );
    }
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 2 * Feature::ALL.len());
}

#[test]
fn features_can_be_left_out() {
    let datagram = Features::NONE.with(Feature::Datagram);

    assert_eq!(Features::ALL.within(u16::MAX), Features::ALL);
    assert_eq!(Features::ALL.within(0), Features::NONE);
    assert_eq!(Features::ALL.within(4), datagram);
    assert_eq!(datagram.within(!4), Features::NONE);
}

#[test]
fn features_are_sets() {
    let two = Features::NONE
        .with(Feature::EventIndex)
        .with(Feature::Datagram);
    let one = Features::NONE.with(Feature::Datagram);

    assert!(two.has(Feature::EventIndex) && !two.has(Feature::Status));
    assert!(two.includes(one) && !one.includes(two));
    assert!(two.includes(two) && two.includes(Features::NONE));
    assert!(Feature::ALL.into_iter().all(|f| Features::ALL.has(f)));
    assert!(Features::ALL.includes(two));
}

/// Any content of the nodes of the features, in their order.
fn nodes() -> impl Strategy<Value = Vec<Option<u32>>> {
    let node = prop_oneof![
        Just(None),
        Just(Some(0)),
        Just(Some(1)),
        any::<Option<u32>>()
    ];
    proptest::collection::vec(node, Feature::ALL.len())
}

proptest! {
    #[test]
    fn orders_of_offers(order: u32) {
        let offer = Offer::read(XenSock, b"1", order, None, Features::NONE);

        prop_assert_eq!(offer.map(|o| o.max_order), Order::new(order.min(9)));
    }

    #[test]
    fn features_are_there_if_their_node_is_1(nodes in nodes()) {
        let number = |feature| {
            let i = Feature::ALL.into_iter().position(|f| f == feature).unwrap();
            Ok::<_, ()>(nodes[i])
        };
        let native = Features::read(XenSock, number).unwrap();

        for (feature, node) in Feature::ALL.into_iter().zip(&nodes) {
            prop_assert_eq!(native.has(feature), *node == Some(1));
        }
        prop_assert_eq!(Features::read(PvCalls, number), Ok(Features::NONE));
    }

    #[test]
    fn a_node_that_cannot_be_read_is_an_error(bad in 0..Feature::ALL.len()) {
        let number = |feature| match feature == Feature::ALL[bad] {
            true => Err("no number"),
            false => Ok(None),
        };

        prop_assert_eq!(Features::read(XenSock, number), Err("no number"));
    }
}
