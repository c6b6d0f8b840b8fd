// SPDX-License-Identifier: GPL-2.0

//! Orders of data rings: the administrator's choice, or the defaults.

use crate::{
    module_parameters,
    proto::ring::Order, //
};

/// Returns the order that the administrator has chosen, if any.
fn chosen_order() -> Option<Order> {
    Order::new(u32::from(module_parameters::ring_order.value()))
}

/// Returns the order of new rings that cannot grow.
pub(crate) fn fixed_order() -> Order {
    chosen_order().unwrap_or(order(4))
}

/// Largest order of new rings that can grow: 8 KiB each way.
pub(crate) const FIRST_ORDER: Order = order(2);

/// Returns the largest order that rings grow to.
pub(crate) fn largest_order() -> Order {
    chosen_order().unwrap_or(order(8))
}

const fn order(number: u32) -> Order {
    match Order::new(number) {
        Some(order) => order,
        None => Order::MIN,
    }
}
