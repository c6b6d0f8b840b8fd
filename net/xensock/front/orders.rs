// SPDX-License-Identifier: GPL-2.0

//! How large data rings are, as far as the administrator has not said it.

use crate::{
    module_parameters,
    proto::ring::Order, //
};

/// Returns the order that the administrator has chosen, if any.
fn chosen_order() -> Option<Order> {
    Order::new(u32::from(module_parameters::ring_order.value()))
}

/// Returns the order of new rings that stay as they are.
pub(crate) fn fixed_order() -> Order {
    chosen_order().unwrap_or(order(4))
}

/// The order of new rings that can grow, which none begins above: 8 KiB each way.
pub(crate) const FIRST_ORDER: Order = order(2);

/// Returns the order that those grow to at the most.
pub(crate) fn largest_order() -> Order {
    chosen_order().unwrap_or(order(8))
}

const fn order(number: u32) -> Order {
    match Order::new(number) {
        Some(order) => order,
        None => Order::MIN,
    }
}
