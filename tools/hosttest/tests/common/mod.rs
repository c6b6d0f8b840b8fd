// SPDX-License-Identifier: GPL-2.0

//! What several tests make up.

use std::net::{
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV6, //
};

use proptest::prelude::*;
use xensock_hosttest::proto::Dialect;

/// Any address that a dialect has.
pub(crate) fn address(dialect: Dialect) -> BoxedStrategy<SocketAddr> {
    let v4 = (any::<Ipv4Addr>(), any::<u16>()).prop_map(SocketAddr::from);
    let v6 = (any::<Ipv6Addr>(), any::<u16>(), any::<u32>(), any::<u32>())
        .prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(ip, port, flow, scope).into());

    match dialect {
        Dialect::XenSock => prop_oneof![v4, v6].boxed(),
        Dialect::PvCalls => v4.boxed(),
    }
}
