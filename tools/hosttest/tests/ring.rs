// SPDX-License-Identifier: GPL-2.0

//! The arithmetic of data rings, against models that use 64-bit numbers and never wrap.

use proptest::prelude::*;
use xensock_hosttest::proto::{
    indexes::{
        self,
        ref_offset, //
    },
    ring::{
        crossed,
        queued,
        spans,
        Order,
        Violation, //
    },
};

/// Any order.
fn order() -> impl Strategy<Value = Order> {
    (1u32..=9).prop_map(|order| Order::new(order).unwrap())
}

/// Any count of bytes since the beginning, with many near the places where 32 bits wrap.
fn count() -> impl Strategy<Value = u64> {
    let near = (1u64..6, 0u64..4_194_304).prop_map(|(n, d)| (n << 32) + d - 2_097_152);
    prop_oneof![near, 0u64..(1 << 40), 0u64..4_194_304]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn indexes_are_counts_modulo_2_to_the_32(cons in count(), fill: u32, order in order()) {
        let size = order.half_size();
        let fill = fill % (size + 1);
        let prod = cons + u64::from(fill);

        prop_assert_eq!(queued(prod as u32, cons as u32, size), Ok(fill));
    }

    #[test]
    fn impossible_indexes_are_violations(cons: u32, beyond: u32, order in order()) {
        let size = order.half_size();
        let excess = size + 1 + beyond % (u32::MAX - size);
        let prod = cons.wrapping_add(excess);

        prop_assert_eq!(queued(prod, cons, size), Err(Violation));
    }

    #[test]
    fn any_pair_of_indexes_is_judged(prod: u32, cons: u32, order in order()) {
        let size = order.half_size();

        let distance = prod.wrapping_sub(cons);

        prop_assert_eq!(queued(prod, cons, size), (distance <= size).then_some(distance).ok_or(Violation));
    }

    #[test]
    fn an_affordable_growth_leaves_some_to_others(
        wanted in order(),
        base in order(),
        left in 0usize..40_000,
        fair in 0usize..1_000,
    ) {
        let most = fair.min(left / 32);
        let larger = |order: Order| Order::new(order.get() + 1).filter(|larger| *larger <= wanted);
        match wanted.affordable_growth(base, left, fair) {
            None => prop_assert!(wanted <= base || larger(base).unwrap().half_pages() > most),
            Some(order) => {
                prop_assert!(order > base && order <= wanted && order.half_pages() <= most);
                prop_assert!(larger(order).is_none_or(|more| more.half_pages() > most));
            }
        }
    }

    #[test]
    fn an_affordable_ring_leaves_some_to_others(wanted in order(), left in 0usize..40_000) {
        match wanted.affordable(left) {
            None => prop_assert!(left < Order::MIN.grants()),
            Some(order) => {
                prop_assert!(order <= wanted && order.grants() <= left);
                prop_assert!(order == Order::MIN || 32 * order.grants() <= left);
                let larger = Order::new(order.get() + 1).filter(|larger| *larger <= wanted);
                prop_assert!(larger.is_none_or(|larger| 32 * larger.grants() > left));
            }
        }
    }

    #[test]
    fn spans_are_the_bytes_one_by_one(start in count(), len in 0u32..10_000, order in 1u32..=2) {
        let size = Order::new(order).unwrap().half_size();
        let spans = spans(start as u32, len, size);
        let bytes = spans.into_iter().flat_map(|s| s.offset..s.offset + s.len);
        let model = (start..start + u64::from(len.min(size))).map(|i| (i % u64::from(size)) as u32);

        prop_assert!(bytes.eq(model));
    }

    #[test]
    fn spans_stay_inside_whatever_comes(index: u32, len: u32, order in order()) {
        let size = order.half_size();
        let [a, b] = spans(index, len, size);

        prop_assert_eq!(a.len + b.len, len.min(size));
        prop_assert!(a.offset + a.len <= size);
        prop_assert!(b.offset + b.len <= size);
        prop_assert!(b.len == 0 || a.offset + a.len == size);
    }

    #[test]
    fn crossed_is_reaching(old in count(), step in 0u32..2_097_152, event in -2_097_152i64..4_194_304) {
        let new = old + u64::from(step);
        let event = old.wrapping_add_signed(event);
        let model = (old + 1..=new).contains(&event);

        prop_assert_eq!(crossed(event as u32, old as u32, new as u32), model);
    }

    #[test]
    fn order_for_size_is_the_smallest(bytes: usize) {
        let bytes = bytes % (2 << 20);
        let order = Order::for_size(bytes);

        prop_assert!(order.half_len() >= bytes || order == Order::MAX);
        if order > Order::MIN {
            prop_assert!(Order::new(order.get() - 1).unwrap().half_len() < bytes);
        }
    }
}

#[test]
fn crossed_small() {
    // Every case of a small window, around the wrap and away from it.
    for base in [0u32, 7, u32::MAX - 3] {
        for step in 0..6u32 {
            for event in 0..12u32 {
                let reached = (3..3 + step).contains(&(event.wrapping_sub(1)));
                assert_eq!(
                    crossed(
                        base.wrapping_add(event),
                        base.wrapping_add(3),
                        base.wrapping_add(3 + step)
                    ),
                    reached,
                    "{base} {event} {step}"
                );
            }
        }
    }
}

#[test]
fn orders() {
    assert_eq!(Order::new(0), None);
    assert_eq!(Order::new(10), None);
    assert_eq!(Order::new(u32::MAX), None);
    for n in 1..=9 {
        let order = Order::new(n).unwrap();
        assert_eq!(order.get(), n);
        assert_eq!(order.pages() * 4096, 2 * order.half_len());
        assert_eq!(order.half_len(), order.half_size() as usize);
        assert!(order.half_size().is_power_of_two());
        assert!(order.pages() <= indexes::MAX_REFS);
    }
    assert_eq!(Order::MIN.half_size(), 4096);
    assert_eq!(Order::MAX.half_size(), 1 << 20);
    assert_eq!(Order::for_size(0), Order::MIN);
    assert_eq!(Order::for_size(usize::MAX), Order::MAX);
}

#[test]
fn indexes_page() {
    assert_eq!(indexes::MAX_REFS, 991);
    assert_eq!(ref_offset(0), Some(132));
    assert_eq!(ref_offset(990), Some(4092));
    assert_eq!(ref_offset(991), None);
    assert_eq!(ref_offset(usize::MAX), None);
    for direction in [indexes::IN, indexes::OUT] {
        let last = Order::MAX.half_pages() - 1;
        // Behind the grants of all rings that can grow, and within the page.
        assert!(direction.extension_offset(0) > ref_offset((1 << 8) - 1));
        assert!(direction.extension_offset(last).unwrap() + 4 <= indexes::LEN);
        assert_eq!(direction.extension_offset(last + 1), None);
        assert_eq!(direction.extension_offset(usize::MAX), None);
    }
    assert_eq!(indexes::OUT.extension_offset(0), indexes::IN.extension_offset(255).map(|o| o + 4));
}
